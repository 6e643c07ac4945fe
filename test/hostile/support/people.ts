/** alice, bob and root: their rights, directories and processes. */
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { binary, freshDirectory, inVm, run } from '../../system/support/bench.ts';
import { Target } from '../../system/support/targets.ts';

export type User = 'root' | 'alice' | 'bob';

export const uids: Readonly<Record<User, number>> = { root: 0, alice: 1500, bob: 1501 };

/**
 * The command that starts a program with the rights of a login of this user. Unlike a login, a container's pid 1 has inheritable
 * capabilities.
 */
export function as(user: User, ...options: string[]): string[] {
  if (user === 'root') return options.length > 0 ? ['setpriv', ...options, '--'] : [];
  return [
    'setpriv',
    `--reuid=${user}`,
    `--regid=${user}`,
    '--init-groups',
    '--inh-caps=-all',
    ...options,
    '--',
  ];
}

/** Like as(), with CAP_CHECKPOINT_RESTORE, as pam_cap(8) grants it to the users that /etc/security/capability.conf names. */
export function asCapable(user: Exclude<User, 'root'>, ...options: string[]): string[] {
  const capable = ['--inh-caps=-all,+checkpoint_restore', '--ambient-caps=+checkpoint_restore'];
  return [
    ...as(user, ...options).filter((word) => word !== '--inh-caps=-all' && word !== '--'),
    ...capable,
    '--',
  ];
}

/** A fresh directory of this user's. */
export function directoryOf(user: User, mode = 0o755): string {
  const directory = freshDirectory();
  chownSync(directory, uids[user], uids[user]);
  chmodSync(directory, mode);
  return directory;
}

/** Starts a program that prints the pid of a process which counts into FILE, its last argument. */
export function startCounting(user: User, options: readonly string[], ...command: string[]): Target {
  return startCountingUnder([], user, options, ...command);
}

/** @param under the command that starts it, as root. */
export function startCountingUnder(
  under: readonly string[],
  user: User,
  options: readonly string[],
  ...command: string[]
): Target {
  const file = join(directoryOf(user), 'count');
  const [program, ...argv] = [...under, ...as(user, ...options), ...command, file];
  return new Target(Number(run(program!, ...argv)), file);
}

/**
 * A process of this user's that counts. A container's bounding set lacks capabilities, and without root only a process with
 * no_new_privs can be restored there.
 */
export function targetOf(user: User, ...options: string[]): Target {
  const unshackled = inVm || user === 'root' || options.includes('--no-new-privs') ? [] : ['--no-new-privs'];
  return startCounting(user, [...options, ...unshackled], binary('counter'));
}

/** A file of root's that every user may read and only root may write, and a check of its content. */
export class RootsFile {
  readonly path = join(freshDirectory(), 'roots');
  readonly #content = 'written by root\n';

  constructor() {
    // Every user may search the directory, so that only the mode of the file itself protects it.
    chmodSync(join(this.path, '..'), 0o755);
    writeFileSync(this.path, this.#content, { mode: 0o644 });
  }

  get unchanged(): boolean {
    const { uid, mode } = statSync(this.path);
    return uid === 0 && (mode & 0o777) === 0o644 && readFileSync(this.path, 'utf8') === this.#content;
  }
}

/** A copy of a program whose file gives it more rights than its user has. */
export function privilegedProgram(name: string, mode: number, capabilities?: string, group = 0): string {
  const path = join(directoryOf('root'), name);
  copyFileSync(binary(name), path);
  chownSync(path, 0, group);
  chmodSync(path, mode);
  if (capabilities !== undefined) run('setcap', capabilities, path);
  return path;
}

/** A configuration of CRIU's with a script, and a mark that tells whether it ran, and as which user. */
export class Script {
  readonly config: string;
  readonly #mark: string;

  constructor() {
    const directory = directoryOf('alice', 0o777);
    this.#mark = join(directory, 'mark');
    const script = join(directory, 'script');
    this.config = join(directory, 'config');
    writeFileSync(script, `#!/bin/sh\nid -u >>${this.#mark}\n`);
    chmodSync(script, 0o755);
    writeFileSync(this.config, `action-script ${script}\n`);
    for (const path of [script, this.config]) chownSync(path, uids.alice, uids.alice);
  }

  get ran(): boolean {
    return existsSync(this.#mark);
  }

  get ranAsRoot(): boolean {
    return this.ran && readFileSync(this.#mark, 'utf8').startsWith('0\n');
  }
}
