/** Shared by the launcher's tests: the programs, a caller with traits of its own, and a launch from start to end. */
import { strict as assert } from 'node:assert';
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { chmodSync, constants, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import {
  decodeAnswer,
  encodeParameters,
  type LaunchAnswer,
  type LaunchFailure,
  type LaunchParameters,
  launcherFds,
  maxAnswerBytes,
} from '../../../src/engine/launcher-protocol.ts';
import { StderrFile } from '../../../src/engine/stderr-file.ts';
import {
  type ExitStatus,
  native,
  type OwnedFd,
  type Process,
  type SeqpacketSocket,
  Watch,
} from '../../../src/native/binding.ts';
import { parseThreadStatus } from '../../../src/proc/status.ts';

const here = fileURLToPath(new URL('.', import.meta.url));
const sources = fileURLToPath(new URL('../../../native/launcher/', import.meta.url));
const built = fileURLToPath(new URL('../../../native/build/Release/criu-launcher', import.meta.url));

/** As in native/binding.gyp. */
const commonFlags = [
  '-std=c++20',
  '-fno-exceptions',
  '-fno-rtti',
  '-D_GNU_SOURCE',
  '-D_FILE_OFFSET_BITS=64',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-Wconversion',
  '-Wshadow',
];

/** A temporary directory that the tests' users may search, with the compiled programs in it. */
export class Workshop {
  readonly directory = mkdtempSync(join(tmpdir(), 'criu-service-launcher-'));
  readonly config = join(this.directory, 'unprivileged.conf');
  /** A statically linked criu that reports its traits needs no real library, so any file will do. */
  readonly preload = join(this.directory, 'unprivileged.conf');

  constructor() {
    chmodSync(this.directory, 0o755);
    writeFileSync(this.config, 'unprivileged\n', { mode: 0o644 });
    for (const name of ['report', 'caller', 'silent-mount', 'twice']) {
      execFileSync(
        'gcc',
        ['-O1', '-Wall', '-Wextra', '-Werror', '-static', '-o', this.path(name), join(here, `${name}.c`)],
        { stdio: 'inherit' },
      );
    }
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** The installed launcher, as scripts/build left it; compiled here if that has not been run. */
  plainLauncher(): string {
    return existsSync(built) ? built : this.#compile('launcher-plain', ['-O2']);
  }

  /**
   * Any finding ends it with SIGABRT or a status of its own, and with words on its stderr. LeakSanitizer has nothing to do: the
   * launcher allocates nothing and exits by _exit(2) or execveat(2).
   */
  sanitizedLauncher(): string {
    return this.#compile('launcher-sanitized', [
      '-O1',
      '-g',
      '-fsanitize=address,undefined',
      '-fno-sanitize-recover=all',
      '-fno-omit-frame-pointer',
    ]);
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  #compile(name: string, flags: readonly string[]): string {
    const files = readdirSync(sources)
      .filter((file) => file.endsWith('.cc'))
      .map((file) => join(sources, file));
    execFileSync('g++', [...commonFlags, ...flags, '-o', this.path(name), ...files], { stdio: 'inherit' });
    return this.path(name);
  }
}

/** Lines KEY=VALUE, as report.c writes them. */
export type Report = ReadonlyMap<string, string>;

function parseReport(text: string): Report {
  return new Map(
    text
      .split('\n')
      .filter((line) => line.includes('='))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
}

/** A process made by caller.c: its identity, and its descriptors here. */
export class TestCaller {
  readonly pid: number;
  readonly pidfd: OwnedFd;
  readonly procDirectory: OwnedFd;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  readonly #interface: Interface;

  /** @param holds descriptors of this process that it gets as 3, 4 and so on. */
  static async start(
    workshop: Workshop,
    traits: readonly string[],
    holds: readonly number[] = [],
  ): Promise<TestCaller> {
    const child = spawn(workshop.path('caller'), traits, {
      cwd: '/',
      env: { REPORT: workshop.path('report') },
      stdio: ['pipe', 'pipe', 'pipe', ...holds],
    }) as ChildProcessWithoutNullStreams;
    let complaint = '';
    child.stderr.on('data', (data: Buffer) => {
      complaint += data.toString();
    });
    const lines = createInterface(child.stdout);
    const iterator = lines[Symbol.asyncIterator]();
    const first = await iterator.next();
    assert.equal(first.value, 'ready', `the caller did not start: ${complaint}`);
    return new TestCaller(child, lines, iterator);
  }

  private constructor(
    child: ChildProcessWithoutNullStreams,
    lines: Interface,
    iterator: AsyncIterator<string>,
  ) {
    this.#child = child;
    this.#interface = lines;
    this.#lines = iterator;
    this.pid = child.pid!;
    this.pidfd = native.pidfdOpen(this.pid);
    this.procDirectory = native.open(`/proc/${this.pid}`, constants.O_RDONLY | constants.O_DIRECTORY);
  }

  /** Sends a command and returns the printed answer. */
  async ask(command: string): Promise<string> {
    this.#child.stdin.write(`${command}\n`);
    const answer: string[] = [];
    for (;;) {
      const { value, done } = await this.#lines.next();
      assert.ok(!done, `the caller ended at ${command}`);
      if (value === '.') return answer.join('\n');
      answer.push(value);
    }
  }

  /** The traits of its ordinary child. */
  async ordinaryChild(): Promise<Report> {
    return parseReport(await this.ask('child'));
  }

  /** The service's reading of the caller. */
  parameters(workshop: Workshop): LaunchParameters {
    const text = execFileSync('cat', [`/proc/${this.pid}/status`], { encoding: 'latin1' });
    const status = parseThreadStatus(text);
    return {
      handOver: false,
      pid: this.pid,
      uid: status.uids[0]!,
      gid: status.gids[0]!,
      groups: status.groups,
      umask: Number.parseInt(/^Umask:\s*([0-7]+)$/m.exec(text)![1]!, 8),
      noNewPrivs: status.noNewPrivs,
      bounding: status.bounding,
      inheritable: status.inheritable,
      ambient: status.ambient,
      criu: workshop.path('report'),
      noCapability: false,
      joinTime: false,
      ownClocks: false,
      config: workshop.config,
      preload: workshop.preload,
    };
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.kill('SIGKILL');
    await ended;
    this.#interface.close();
  }

  close(): void {
    this.pidfd.close();
    this.procDirectory.close();
  }
}

export interface LaunchOptions {
  readonly launcher: string;
  readonly caller: TestCaller;
  /** The packet; undefined closes the control socket instead. */
  readonly packet: Uint8Array | undefined;
  /** The caller's connection, for a hand-over. */
  readonly connection?: OwnedFd;
  /** A pidfd of the process whose time namespace the engine enters. */
  readonly timePidfd?: OwnedFd;
  /** The directory of the cgroup in which the launcher is born. */
  readonly cgroup?: OwnedFd;
  /** Called after the packet was sent, with the launcher's pid; a returned promise is awaited. */
  readonly meanwhile?: (pid: number, kill: () => void) => Promise<void> | void;
  /** Called for each answer, before the next is waited for. */
  readonly onAnswer?: (answer: LaunchAnswer, control: SeqpacketSocket) => void;
}

export interface Launch {
  readonly pid: number;
  readonly answers: readonly LaunchAnswer[];
  /** The engine's output on the socket that came with the answer. */
  readonly report: Report;
  readonly socketCount: number;
  readonly exit: ExitStatus;
}

/** A launch until the process has ended. It requires an empty stderr, because a sanitizer would write there. */
export async function launch(options: LaunchOptions): Promise<Launch> {
  const stderr = new StderrFile('criu-launcher-test');
  const { ours: control, theirs } = native.socketpair();
  const devNull = native.open('/dev/null', constants.O_RDWR);
  const process = native.spawn({
    file: options.launcher,
    argv: ['criu-launcher'],
    env: [],
    fds: [
      { source: devNull, target: 0 },
      { source: devNull, target: 1 },
      { source: stderr.fd, target: launcherFds.stderr },
      { source: theirs, target: launcherFds.control },
      { source: options.caller.pidfd, target: launcherFds.callerPidfd },
      { source: options.caller.procDirectory, target: launcherFds.callerProc },
      ...(options.connection ? [{ source: options.connection, target: launcherFds.callerSocket }] : []),
      ...(options.timePidfd ? [{ source: options.timePidfd, target: launcherFds.timePidfd }] : []),
      ...(options.cgroup ? [{ source: options.cgroup, target: launcherFds.cgroup }] : []),
    ],
  });
  theirs.close();
  devNull.close();
  const { pid } = process;
  let exited = new Promise<ExitStatus>((resolve) => process.onExit(resolve));
  const firstExited = exited;
  let second: Process | undefined;
  const answers: LaunchAnswer[] = [];
  const sockets: SeqpacketSocket[] = [];
  // Read from the start: an engine that cannot write holds its copy of the control socket.
  const texts: Promise<string>[] = [];
  if (options.packet === undefined) {
    control.close();
  } else {
    assert.ok(sendIfThere(control, options.packet), 'the packet does not fit into the socket');
    await options.meanwhile?.(pid, () => process.signal(9));
    for await (const packet of packetsOf(control, maxAnswerBytes)) {
      const answer = decodeAnswer(packet.data);
      if (answer.kind === 'born') {
        const born = native.adoptProcess(packet.fds[0]!, answer.pid);
        exited = new Promise<ExitStatus>((resolve) => born.onExit(resolve));
        second = born;
      } else
        for (const fd of packet.fds) {
          const socket = native.adopt(fd);
          sockets.push(socket);
          texts.push(textOf(socket));
        }
      answers.push(answer);
      options.onAnswer?.(answer, control);
    }
  }
  const text = (await Promise.all(texts)).join('');
  for (const socket of sockets) socket.close();
  const exit = await exited;
  if (second) assert.deepEqual(await firstExited, { kind: 'exited', code: 0 });
  second?.close();
  process.close();
  control.close();
  const words = stderr.tail();
  stderr.close();
  assert.deepEqual(words, [], 'something was written to stderr');
  return { pid, answers, report: parseReport(text), socketCount: sockets.length, exit };
}

/** A launcher that fails before it has the packet has sent its answer, and is gone. */
function sendIfThere(control: SeqpacketSocket, packet: Uint8Array): boolean {
  try {
    return control.send(packet);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
    return true;
  }
}

async function textOf(socket: SeqpacketSocket): Promise<string> {
  let text = '';
  for await (const packet of packetsOf(socket, 1 << 16)) text += packet.data.toString();
  return text;
}

/** Launches with the caller's own parameters, except for `changes`. */
export function launchAs(
  workshop: Workshop,
  launcher: string,
  caller: TestCaller,
  changes: Partial<LaunchParameters> = {},
  options: Partial<LaunchOptions> = {},
): Promise<Launch> {
  const packet = encodeParameters({ ...caller.parameters(workshop), ...changes });
  return launch({ launcher, caller, packet, ...options });
}

/** Requires that the launch was refused, and that nothing was executed. */
export function requireFailure(result: Launch, expected: Partial<LaunchFailure>): void {
  const [answer, ...more] = result.answers;
  assert.ok(answer, 'the launcher did not answer');
  assert.equal(answer.kind, 'failed', 'an engine was executed');
  for (const [name, value] of Object.entries(expected)) {
    assert.equal(
      (answer as unknown as Record<string, unknown>)[name],
      value,
      `${name} of ${inspect(answer)}`,
    );
  }
  assert.deepEqual(more, []);
  assert.equal(result.socketCount, 0);
  assert.equal(result.report.size, 0);
  assert.deepEqual(result.exit, { kind: 'exited', code: 1 });
}

function inspect(answer: LaunchAnswer): string {
  return JSON.stringify(answer, (_key, value) => (typeof value === 'bigint' ? String(value) : value));
}

/** Every packet until the end of the connection. */
export async function* packetsOf(
  socket: SeqpacketSocket,
  limit: number,
): AsyncGenerator<{ data: Buffer; fds: OwnedFd[] }> {
  for (;;) {
    let head = peekPastReset(socket);
    if (head === 'nothing') {
      await new Promise<void>((resolve) => {
        socket.watch(Watch.readable, () => {
          socket.watch(0);
          resolve();
        });
      });
      head = peekPastReset(socket);
    }
    if (head === 'end') return;
    const packet = socket.receive(limit);
    if (packet) yield packet;
  }
}

/** If the peer leaves something unread, the first read gives ECONNRESET. */
function peekPastReset(socket: SeqpacketSocket): string {
  try {
    return socket.peek(0).kind;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ECONNRESET') throw error;
    return socket.peek(0).kind;
  }
}
