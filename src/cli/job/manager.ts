/** systemd as the supervisor of jobs: the user's manager, or for root the system's. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { startTimeOf } from '../../proc/stat.ts';
import { exitCodes } from '../exit-codes.ts';
import { read } from '../gone.ts';
import { Obstacle } from '../invocation.ts';
import { userName } from '../people.ts';
import { uid } from './context.ts';

export function jobUnit(name: string): string {
  return `criu-job@${name}.service`;
}

function checkpointUnit(name: string, type: 'service' | 'timer'): string {
  return `criu-job-checkpoint@${name}.${type}`;
}

const isRoot = uid === 0;
const scope = isRoot ? ['--system'] : ['--user'];
const runtime = process.env.XDG_RUNTIME_DIR ?? `/run/user/${uid}`;

/** In a session of its own: a Ctrl-C at the terminal is for criuctl alone, and cuts off no request on its way to systemd. */
function start(program: string, argv: readonly string[], output: 'pipe' | 'ignore'): ChildProcess {
  return spawn(program, argv, {
    // A login without pam_systemd, or a sudo, lacks the address.
    env: { ...process.env, XDG_RUNTIME_DIR: runtime },
    detached: true,
    stdio: ['ignore', output, output],
  });
}

function endOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
}

async function ask(program: string, ...argv: string[]): Promise<string> {
  const child = start(program, argv, 'pipe');
  const [status, answer, words] = await Promise.all([endOf(child), text(child.stdout!), text(child.stderr!)]);
  if (status !== 0) throw new Error(words.trim() || `${program} has failed`);
  return answer;
}

const systemctl = (...argv: string[]): Promise<string> => ask('systemctl', ...scope, '--quiet', ...argv);

/** @throws Obstacle if no manager of systemd's would take a job of this user's. */
export function requireManager(): void {
  if (existsSync(isRoot ? '/run/systemd/system' : `${runtime}/systemd/private`)) return;
  throw new Obstacle(
    exitCodes.unreachable,
    isRoot
      ? 'systemd does not run on this machine, so that no unit can hold the job'
      : `systemd’s manager of ${userName(uid)} does not run, so that no unit can hold the job`,
    'Say --foreground: criuctl itself stays with the job then',
    ...(isRoot ? [] : [`Or let the manager run: loginctl enable-linger ${userName(uid)}`]),
  );
}

/**
 * Waits until the unit runs. A Ctrl-C ends the wait alone: the request reaches systemd all the same. A SIGTERM comes too late, as
 * criu-service/job says of its aborts.
 */
export async function startUnit(
  name: string,
  signal: AbortSignal,
): Promise<'started' | 'failed' | 'not-waited-for'> {
  const unit = jobUnit(name);
  await systemctl('reset-failed', unit).catch(() => '');
  const child = start('systemctl', [...scope, '--quiet', 'start', unit], 'ignore');
  const over = endOf(child).then(
    (status) => (status === 0 ? 'started' : 'failed'),
    () => 'failed' as const,
  );
  const first = await Promise.race([over, interrupted(signal)]);
  if (first !== 'interrupted') return first;
  child.unref();
  return 'not-waited-for';
}

function interrupted(signal: AbortSignal): Promise<'interrupted'> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (isByKeyboard(signal)) resolve('interrupted');
    };
    signal.addEventListener('abort', look, { once: true });
    look();
  });
}

/** The reason of an abort is the name of its signal. */
export function isByKeyboard(signal: AbortSignal): boolean {
  return signal.aborted && signal.reason === 'SIGINT';
}

/** The job is resumed when its user's manager starts the next time. */
export function enableUnit(name: string): Promise<unknown> {
  return systemctl('enable', jobUnit(name)).catch(() => '');
}

/** A job that has ended is not started any more. */
export function disableUnit(name: string): Promise<unknown> {
  return systemctl('disable', jobUnit(name)).catch(() => '');
}

/** A job that was removed leaves no unit, not even as failed. */
export async function forgetUnit(name: string): Promise<void> {
  await disableUnit(name);
  await systemctl('reset-failed', jobUnit(name)).catch(() => '');
}

/** Where a start is whose request has failed, as when systemd itself is restarted meanwhile. */
export async function stageOfStart(name: string): Promise<'done' | 'goes-on' | 'over'> {
  const unit = jobUnit(name);
  const state = await systemctl('show', '--property=ActiveState', '--value', unit).catch(() => '');
  if (/^(active|reloading)$/.test(state.trim())) return 'done';
  if (state.trim() === 'activating') return 'goes-on';
  // A start that waits for other units has not begun, and its unit is inactive.
  const queued = await systemctl('list-jobs', '--full', '--no-legend', unit).catch(() => '');
  return /\s(start|restart)\s+(waiting|running)\s*$/m.test(queued) ? 'goes-on' : 'over';
}

/** Result= of the unit of a job that could not be started. */
export async function stateOfUnit(name: string): Promise<string> {
  return (await systemctl('show', '--property=Result', '--value', jobUnit(name)).catch(() => '')).trim();
}

/**
 * A timer of systemd's for the job's checkpoints, which ends with the job.
 * @param seconds from now, and from the end of each checkpoint, to the next.
 */
export async function setTimer(name: string, seconds: number): Promise<void> {
  const timer = checkpointUnit(name, 'timer');
  await systemctl('stop', timer).catch(() => '');
  await ask(
    'systemd-run',
    ...scope,
    '--quiet',
    '--collect',
    `--unit=${checkpointUnit(name, 'service')}`,
    `--on-active=${seconds}s`,
    `--on-unit-inactive=${seconds}s`,
    '--timer-property=AccuracySec=1s',
    `--timer-property=Description=Checkpoints of job ${name}`,
    `--timer-property=BindsTo=${jobUnit(name)}`,
    `--timer-property=After=${jobUnit(name)}`,
  );
}

export async function stopTimer(name: string): Promise<void> {
  await systemctl('stop', checkpointUnit(name, 'timer')).catch(() => '');
}

/** Also in a cgroup below that of the unit. */
export function isInUnit(name: string, pid: number): boolean {
  return read(`/proc/${pid}/cgroup`).trimEnd().split('/').includes(jobUnit(name));
}

/** Enough for a tree that forks all the time: a process that was moved forks into the unit. */
const mostRounds = 100;

/**
 * Moves a tree into this unit, for root, whose restored trees are in criu.service. Needs Delegate=.
 * @param members reads the processes of the tree, which come and go meanwhile.
 * @throws Error if systemd refuses to, Obstacle if the tree forks faster.
 */
export async function moveHere(name: string, members: () => readonly number[]): Promise<void> {
  for (let round = 0; round < mostRounds; round += 1) {
    const outside = members().filter((pid) => startTimeOf(pid) !== undefined && !isInUnit(name, pid));
    if (outside.length === 0) return;
    try {
      await attach(name, outside);
    } catch (error) {
      // systemd refuses all of them for a process that has ended.
      if (outside.every((pid) => startTimeOf(pid) !== undefined)) throw error;
    }
  }
  throw new Obstacle(
    exitCodes.failed,
    `The processes of job ${name} cannot be moved into its unit: they start others faster`,
    `Try again: criuctl resume ${name}; or stay with it: criuctl resume ${name} --foreground`,
  );
}

async function attach(name: string, pids: readonly number[]): Promise<void> {
  await ask(
    'busctl',
    ...scope,
    '--quiet',
    'call',
    'org.freedesktop.systemd1',
    '/org/freedesktop/systemd1',
    'org.freedesktop.systemd1.Manager',
    'AttachProcessesToUnit',
    'ssau',
    jobUnit(name),
    '',
    `${pids.length}`,
    ...pids.map(String),
  );
}

/** Undefined where a job of this user's starts with the machine: root's, and with lingering. */
export function lingeringAdvice(): string | undefined {
  if (isRoot || existsSync(`/var/lib/systemd/linger/${userName(uid)}`)) return undefined;
  return `After a reboot it goes on when ${userName(uid)} logs in; with lingering it goes on at once, and outlives a logout: loginctl enable-linger`;
}
