/**
 * Processes unrelated to engines that look like their leftovers: those of a user with sandboxes, containers and programs with
 * more rights than the user. They are started once, and must survive every test.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { bitOf } from '../../../src/policy/capabilities.ts';
import { as, asCapable, privilegedProgram, uids } from '../../hostile/support/people.ts';
import { binary, eventually } from './bench.ts';
import { cgroupOf, childrenOf, endProcess, statusLine } from './proc.ts';

export interface Kind {
  readonly what: string;
  /** Starts the process, and becomes it. */
  readonly command: () => string[];
  /** Whether the process has reached its final state. */
  readonly ready: (pid: number) => boolean;
}

const holds = (pid: number, set: string): boolean =>
  (BigInt(`0x${statusLine(pid, set) ?? '0'}`) & bitOf('CHECKPOINT_RESTORE')) !== 0n;

const is = (pid: number, name: string): boolean => statusLine(pid, 'Name') === name;

const unshare = ['unshare', '--user', '--map-root-user'];

export const bystanderKinds: readonly Kind[] = [
  {
    what: 'in a user namespace of its own',
    command: () => [...as('alice'), ...unshare, 'sleep', 'infinity'],
    ready: (pid) => is(pid, 'sleep') && holds(pid, 'CapEff'),
  },
  {
    what: 'in a user namespace within another one',
    command: () => [...as('alice'), ...unshare, ...unshare, 'sleep', 'infinity'],
    ready: (pid) => is(pid, 'sleep') && holds(pid, 'CapEff'),
  },
  {
    what: 'in a rootless container with subordinate uids',
    command: () => [binary('bystander'), 'container', String(uids.alice)],
    ready: (pid) => {
      const [init] = familyOf(pid).slice(2);
      return (
        init !== undefined &&
        familyOf(pid).length === 4 &&
        statusLine(familyOf(pid)[3]!, 'Uid') === ids(100032)
      );
    },
  },
  {
    what: 'of a set-user-ID program of root’s',
    command: () => [...as('alice'), privilegedProgram('bystander', 0o4755), 'sleep'],
    ready: (pid) => statusLine(pid, 'Uid') === `${uids.alice}\t0\t0\t0`,
  },
  {
    what: 'of a program with file capabilities',
    command: () => [
      ...as('alice'),
      privilegedProgram('bystander', 0o755, 'cap_checkpoint_restore+ep'),
      'sleep',
    ],
    ready: (pid) => is(pid, 'bystander') && holds(pid, 'CapEff'),
  },
  {
    what: 'with an ambient CAP_CHECKPOINT_RESTORE',
    command: () => [...asCapable('alice'), binary('bystander'), 'sleep'],
    ready: (pid) => is(pid, 'bystander') && holds(pid, 'CapAmb'),
  },
  {
    what: 'with an ambient CAP_CHECKPOINT_RESTORE, of bob’s',
    command: () => [...asCapable('bob'), binary('bystander'), 'sleep'],
    ready: (pid) => is(pid, 'bystander') && holds(pid, 'CapAmb'),
  },
  {
    what: 'with 300 threads',
    command: () => [...as('alice'), binary('bystander'), 'threads', '300'],
    ready: (pid) => statusLine(pid, 'Threads') === '301',
  },
];

const ids = (uid: number): string => Array(4).fill(uid).join('\t');

/** A process and its descendants, in the order of their birth. */
function familyOf(pid: number): number[] {
  return [pid, ...childrenOf(pid).flatMap(familyOf)];
}

/** The bystanders start in parallel, half of them in the slice of their user, like most processes of a user. */
const slice = ['--quiet', '--scope', '--collect', `--slice=user-${uids.alice}.slice`];

class Bystander {
  readonly kind: Kind;
  readonly #child: ChildProcess;
  /** Each of its processes, with its start time: a pid alone may belong to another process by now. */
  #since: ReadonlyMap<number, string> = new Map();

  private constructor(kind: Kind, child: ChildProcess) {
    this.kind = kind;
    this.#child = child;
  }

  static async start(kind: Kind, inSlice: boolean): Promise<Bystander> {
    const command = inSlice ? ['systemd-run', ...slice, ...kind.command()] : kind.command();
    const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'ignore', 'inherit'], cwd: '/' });
    child.unref();
    const bystander = new Bystander(kind, child);
    await eventually(`there is a process ${kind.what}`, () => {
      const { exitCode, signalCode } = child;
      assert.equal(exitCode ?? signalCode, null, `the process ${kind.what} ended`);
      return kind.ready(child.pid!);
    });
    bystander.#since = new Map(familyOf(child.pid!).map((pid) => [pid, startOf(pid)!]));
    return bystander;
  }

  get pids(): number[] {
    return [...this.#since.keys()];
  }

  /** @returns its fate; undefined while it is unharmed. */
  get harm(): string | undefined {
    const { signalCode } = this.#child;
    for (const [pid, start] of this.#since) {
      if (startOf(pid) !== start) return signalCode === null ? 'has ended' : `has ended with ${signalCode}`;
      const state = statusLine(pid, 'State') ?? 'gone';
      if (!/^[SRD]/.test(state)) return `is ${state}`;
      if (statusLine(pid, 'TracerPid') !== '0') return 'is traced';
      if (isFrozen(pid)) return 'is frozen';
    }
    return undefined;
  }

  end(): void {
    // In reverse order: the end of the first process of a pid namespace ends all processes in it.
    for (const [pid, start] of [...this.#since].reverse()) {
      if (startOf(pid) === start) endProcess(pid);
    }
  }
}

/** In ticks since boot; undefined for a process that is gone or a zombie. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state === 'Z' || state === 'X' ? undefined : fields[18];
  } catch {
    return undefined;
  }
}

function isFrozen(pid: number): boolean {
  const path = cgroupOf(pid);
  return path !== '/' && /^frozen 1$/m.test(readFileSync(`/sys/fs/cgroup${path}/cgroup.events`, 'latin1'));
}

let bystanders: Bystander[] = [];

/** Ensures a bystander of each kind; those that are unharmed stay. */
export async function startBystanders(): Promise<void> {
  for (const bystander of bystanders) if (bystander.harm !== undefined) bystander.end();
  const there = bystanders.filter(({ harm }) => harm === undefined);
  const missing = bystanderKinds.filter((kind) => !there.some((each) => each.kind === kind));
  const started = missing.map((kind) => Bystander.start(kind, bystanderKinds.indexOf(kind) % 2 === 0));
  bystanders = [...there, ...(await Promise.all(started))];
}

/** Processes that may hold the capability. */
export function bystanderPids(): ReadonlySet<number> {
  return new Set(bystanders.flatMap(({ pids }) => pids));
}

export async function assertBystandersLiveOn(): Promise<void> {
  // Cgroups frozen for a search are thawed at its end; a process that has ended stays so.
  await eventually('they are left alone', () => harmed().every((harm) => harm.includes('has ended'))).catch(
    () => {},
  );
  assert.deepEqual(harmed(), [], 'processes that have nothing to do with an engine were harmed');
}

function harmed(): string[] {
  return bystanders.flatMap(({ kind, harm }) =>
    harm === undefined ? [] : [`the process ${kind.what} ${harm}`],
  );
}

/** @returns the fate of the process of this kind; undefined while it is unharmed. */
export function harmDoneTo(kind: Kind): string | undefined {
  return bystanders.find((each) => each.kind === kind)!.harm;
}

// First of all, because a bystander could take the pid of a dumped process.
before(startBystanders);
after(() => {
  for (const bystander of bystanders) bystander.end();
});
