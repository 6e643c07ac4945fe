#!/usr/bin/env -S node --max-semi-space-size=1
/** Parse, build, run, one exit code. */
import { closeSync, existsSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { constants as os } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { backgroundReadyFd, runInBackground } from '../daemon/background.ts';
import { bindListener } from '../daemon/listener.ts';
import { defaults, type Printed, type ServiceOptions } from '../daemon/options.ts';
import { Service } from '../daemon/service.ts';
import { AnswerFile } from '../engine/answer-file.ts';
import { Kerndat, startKerndatUnit } from '../engine/kerndat.ts';
import { leaveAtOnce } from '../native/leave.ts';
import type { Restorers } from '../policy/authorize.ts';
import { readLabelModule } from '../proc/security-module.ts';
import { MetricsFile } from '../records/metrics-file.ts';
import { adoptActivation, StartError } from '../systemd/activation.ts';
import { createFdStore } from '../systemd/fd-store.ts';
import type { Log } from '../systemd/log.ts';
import { createNotifier } from '../systemd/notifier.ts';
import { createLog } from '../systemd/open-log.ts';
import { startWatchdog } from '../systemd/watchdog.ts';
import { version } from '../version.ts';

/** Directory of the bundle, with the launcher and its configuration. */
const programDirectory = dirname(fileURLToPath(import.meta.url));

/** Time for an engine to become its caller, which includes opening the caller's directories. */
const launchTimeoutMs = 30_000;

main().then((code) => {
  process.exitCode = code;
  process.once('beforeExit', () => leaveAtOnce(code));
});

async function main(): Promise<number> {
  const options = await givenOptions(process.argv.slice(2));
  if ('exitCode' in options) return options.exitCode;
  const readyFd = backgroundReadyFd(process.env);
  if (options.daemon && readyFd === undefined) return runInBackground(process.env);
  return run(options, readyFd);
}

/** Loads commander only if there are arguments, because it is a fifth of all loaded code. */
async function givenOptions(argv: readonly string[]): Promise<ServiceOptions | Printed> {
  if (argv.length === 0) return defaults;
  const { parseCommandLine } = await import('../daemon/command-line.ts');
  return parseCommandLine(argv, version);
}

async function run(options: ServiceOptions, readyFd: number | undefined): Promise<number> {
  const notifier = createNotifier(process.env);
  const at = (file: string): string => resolve(options.workDir ?? '.', file);
  let log: Log | undefined;
  let metrics: MetricsFile | undefined;
  let atOnce = false;
  let bound: string | undefined;
  try {
    log = await createLog({
      verbosity: options.verbosity,
      sink: sinkFor(readyFd !== undefined),
      ...(options.logFile === undefined ? {} : { file: at(options.logFile) }),
    });
    if (options.metricsFile !== undefined) metrics = new MetricsFile(at(options.metricsFile), log);
    const store = createFdStore(process.env);
    const labels = readLabelModule();
    const activation = adoptActivation(process.env);
    let listener = activation?.listener;
    if (!listener) {
      const address = at(options.address);
      listener = bindListener(address);
      bound = address;
    }
    if (options.pidFile !== undefined) writePidFile(at(options.pidFile));
    const service = new Service(listener, log, notifier, store, {
      engine: { criu: options.criu, ahead: options.enginesAhead },
      confined: {
        criu: options.criu,
        launcher: join(programDirectory, 'criu-launcher'),
        configFile: join(programDirectory, 'unprivileged.conf'),
        preload: join(programDirectory, 'criu-engine-preload.so'),
        deadlineMs: launchTimeoutMs,
        labels,
        timeNamespaces: existsSync('/proc/self/timens_offsets'),
      },
      naming: { program: join(programDirectory, 'criu-grant'), rule: options.yama },
      answerFile: activation ? answerFileIn(process.env.RUNTIME_DIRECTORY) : undefined,
      // Without systemd no unit can make a kerndat file.
      kerndat: new Kerndat(options.criu, activation ? startKerndatUnit : () => {}),
      restorers: findRestorers(options.restore),
      standing: {
        allowNoNewPrivs: options.allowNoNewPrivs,
        labels,
      },
      limits: options.limits,
      timeouts: options.timeouts,
      maxPacketBytes: options.maxPacketBytes,
      // systemd names all runtime directories, if an administrator has added some.
      runtimeDirectory: process.env.RUNTIME_DIRECTORY?.split(':')[0],
      // Only a socket unit starts an idle service again, so a service with its own socket never stops.
      idleTimeoutMs: activation ? options.idleTimeoutMs : undefined,
      stopTimeoutMs: options.stopTimeoutMs,
      metrics,
    });
    const stopped = new Promise<'stop' | 'restart'>((resolve) => {
      for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve('stop'));
      // RestartKillSignal= of criu.service: requests in flight stay in systemd's store, and the next start resumes them.
      process.once('SIGUSR2', () => resolve('restart'));
      service.onIdle(() => resolve('stop'));
    });
    process.on('SIGHUP', () => service.reload());
    service.start(activation?.stored);
    startWatchdog(process.env, notifier);
    for (const fd of [options.statusFd, readyFd]) if (fd !== undefined) reportReady(fd);
    if ((await stopped) === 'restart' && service.keepForRestart()) {
      await store.told();
      atOnce = true;
    } else atOnce = !(await service.drain());
    return 0;
  } catch (error) {
    const { message, errno } = error as NodeJS.ErrnoException;
    notifier.failed(Math.abs(errno ?? os.errno.EIO), message);
    if (log) log.error(message);
    // In the background the log is not a terminal, and the waiting command prints this message.
    if (!log || readyFd !== undefined) process.stderr.write(`criu-service: ${message}\n`);
    return 1;
  } finally {
    if (bound !== undefined) rmSync(bound, { force: true });
    if (options.pidFile !== undefined) removePidFile(at(options.pidFile));
    await metrics?.close();
    await log?.close();
    // Kept sessions still hold the event loop; the next start resumes them.
    if (atOnce) leaveAtOnce(0);
  }
}

/** Under systemd stderr is the journal (JOURNAL_STREAM, systemd.exec(5)); a service in the background has no lasting stderr. */
function sinkFor(background: boolean): 'journal' | 'stderr' | 'none' {
  if (process.env.JOURNAL_STREAM !== undefined) return 'journal';
  if (!background) return 'stderr';
  return existsSync('/run/systemd/journal/socket') ? 'journal' : 'none';
}

/** RuntimeDirectory= of criu.service, see systemd.exec(5). */
function answerFileIn(directory: string | undefined): AnswerFile | undefined {
  return directory === undefined ? undefined : new AnswerFile(directory);
}

/** getent(1) knows the groups of every name service; Node does not. */
function findRestorers(restore: string): Restorers {
  if (restore === 'all' || restore === 'root') return { who: restore };
  const name = restore.replace(/^group=/, '');
  const { spawnSync } = process.getBuiltinModule('node:child_process');
  const entry = spawnSync('getent', ['group', name], { encoding: 'utf8' });
  const gid = Number(entry.stdout?.split(':')[2]);
  if (entry.status !== 0 || !Number.isInteger(gid)) {
    throw new StartError(os.errno.EINVAL, `There is no group ${name} (--restore)`);
  }
  return { who: 'group', name, gid };
}

function writePidFile(path: string): void {
  try {
    writeFileSync(path, `${process.pid}`, { mode: 0o644, flag: 'wx' });
  } catch (error) {
    const { errno, message } = error as NodeJS.ErrnoException;
    throw new StartError(Math.abs(errno ?? 0), `Cannot write the pid file: ${message}`, { cause: error });
  }
}

/** Removes only this process's pid file: this instance may have failed because another instance runs with the same file. */
function removePidFile(path: string): void {
  try {
    if (readFileSync(path, 'utf8') === `${process.pid}`) rmSync(path);
  } catch {
    // The file is gone already.
  }
}

function reportReady(fd: number): void {
  writeSync(fd, '\0');
  closeSync(fd);
}
