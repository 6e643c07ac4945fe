/** Programs that do not bear a dump or a restore, though their descriptors tell nothing of it. Pure. Each row was tried. */
import { isBefore, parseRelease } from '../policy/criu-version.ts';
import type { Thing } from './things.ts';

export interface KnownBy {
  readonly name: string;
  /** It has the master of a pseudo terminal. */
  readonly hasMaster: boolean;
  readonly noNewPrivs: boolean;
  /** As `uname -r` gives it. */
  readonly linux: string;
}

/** script(1) of util-linux (2.41) ends its program if its poll(2) is interrupted; its own signals never do that. */
const interrupted: ReadonlySet<string> = new Set(['script', 'scriptlive']);

/**
 * xz(1) 5.8 enters a Landlock domain before it reads its input. Since Linux 6.12 the domain keeps abstract sockets away, and CRIU's code in
 * the process connects to CRIU by such a socket. The attempt fails, and leaves CRIU's code in the process.
 */
const sandboxed: ReadonlySet<string> = new Set([
  'xz',
  'unxz',
  'xzcat',
  'lzma',
  'unlzma',
  'lzcat',
  'xzdec',
  'lzmadec',
]);

export function knownFault({ name, hasMaster, noNewPrivs, linux }: KnownBy): Thing | undefined {
  if (interrupted.has(name) && hasMaster) return { kind: 'interrupted', program: name };
  const keepsAway = !isBefore(parseRelease(linux), [6, 12]);
  return sandboxed.has(name) && noNewPrivs && keepsAway ? { kind: 'sandboxed', program: name } : undefined;
}
