/** Commands of sh(1) as a user, in a directory. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, fchownSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { as, type User, uids } from '../hostile/support/people.ts';
import type { At } from './program.ts';

export interface Place {
  readonly user: User;
  readonly directory: string;
  /** Variables of each command. */
  readonly variables: Readonly<Record<string, string>>;
}

const path = '/usr/local/bin:/usr/bin:/bin:/usr/games:/usr/local/sbin:/usr/sbin:/sbin';

function environmentOf({ user, directory, variables }: Place): Record<string, string> {
  return {
    PATH: path,
    HOME: directory,
    USER: user,
    LOGNAME: user,
    SHELL: '/bin/bash',
    LANG: 'C.UTF-8',
    TERM: 'xterm',
    DIR: directory,
    ...variables,
  };
}

/** No command takes this long; the limit only ends a command that hangs. */
const patienceMs = 60_000;

export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end. */
export function shell(place: Place, command: string): Ended {
  return runAs(place, 'sh', '-c', command);
}

export function runAs(place: Place, ...command: string[]): Ended {
  const [file, ...argv] = [...as(place.user), ...command];
  const { status, stdout, stderr } = spawnSync(file!, argv, {
    cwd: place.directory,
    env: environmentOf(place),
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: patienceMs,
    killSignal: 'SIGKILL',
  });
  return { status, stdout, stderr };
}

/** Without root, a container restores only processes with no_new_privs: its bounding set lacks capabilities. */
export const shackles: Readonly<Record<User, readonly string[]>> = {
  root: [],
  alice: ['--no-new-privs'],
  bob: ['--no-new-privs'],
};

/** Where standard streams of a program lead: a file, a terminal of script(1), or a reader of its output. */
export function start(place: Place, at: At, command: string, ...options: string[]): ChildProcess {
  const words = at === 'terminal' ? ['script', '-qec', command, '/dev/null'] : ['sh', '-c', command];
  const [file, ...argv] = [...as(place.user, ...options), ...words];
  const output = openSync(join(place.directory, at === 'terminal' ? 'screen' : 'output'), 'a', 0o666);
  if (at !== 'roots-file') fchownSync(output, uids[place.user], uids[place.user]);
  try {
    const child = spawn(file!, argv, {
      cwd: place.directory,
      env: environmentOf(place),
      stdio: [
        at === 'terminal' ? 'pipe' : 'ignore',
        at === 'pipe' ? 'pipe' : output,
        at === 'terminal' ? output : at === 'pipe' ? 'ignore' : output,
      ],
      detached: true,
    });
    // A reader, as `| tee` would be.
    child.stdout?.resume();
    // The terminal may end with its program.
    child.stdin?.on('error', () => {});
    return child;
  } finally {
    closeSync(output);
  }
}
