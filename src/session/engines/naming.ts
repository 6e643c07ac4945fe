/** Lets the tree of a request name its engine as its tracer, where Yama wants that (src/policy/yama.ts). */
import { constants, readFileSync } from 'node:fs';
import { constants as os } from 'node:os';
import { explainGrant, grant, type NamedEngine } from '../../engine/grant.ts';
import { restorerOf } from '../../engine/our-cgroups.ts';
import { type NativeError, native, type OwnedFd } from '../../native/binding.ts';
import { type Consent, consentOf, needsRelation, type YamaRule } from '../../policy/yama.ts';
import { parseCgroup } from '../../proc/process-tree.ts';
import type { ConfinedCaller } from '../caller/known-caller.ts';
import { GrantTurns } from './grant-turns.ts';

/** The tree does not let its engine trace it; the message is the end of a sentence that begins with the request. */
export class NotNamedError extends Error {
  override readonly name = 'NotNamedError';
  /** Positive. */
  readonly errno: number;

  constructor(errno: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.errno = errno;
  }
}

export interface NamingOptions {
  /** criu-grant (native/grant), an absolute path. */
  readonly program: string;
  readonly rule: YamaRule;
}

const turns = new GrantTurns();

/**
 * @param root the pid of the tree's root.
 * @param engine waits meanwhile.
 * @returns why the root consents.
 * @throws NotNamedError, CallerGoneError, NativeError
 */
export async function nameEngine(
  { program, rule }: NamingOptions,
  { caller, standing }: ConfinedCaller,
  root: number,
  engine: NamedEngine,
): Promise<Consent> {
  const { pid, uid, gid } = caller.identity;
  const directory = openProcess(root);
  try {
    const tolerance = { rule, restored: wasRestored(directory, uid) };
    const answer = await turns.during(uid, () => {
      const theirs = openEngine(engine);
      try {
        return grant(
          program,
          {
            needsRelation: needsRelation(tolerance),
            engine: engine.pid,
            caller: pid,
            root,
            uid,
            gid,
            permitted: standing.traits.permitted,
          },
          { caller: caller.directory, root: directory, engine: theirs },
        );
      } finally {
        theirs.close();
      }
    });
    if (!answer) {
      throw new NotNamedError(
        os.errno.EAGAIN,
        'earlier processes of yours have yet to let their engines trace them',
      );
    }
    const refused = explainGrant(answer, root);
    if (refused) throw new NotNamedError(refused.errno, refused.reason);
    const consent = consentOf(answer.related, tolerance);
    if (!consent) throw new NotNamedError(os.errno.EIO, 'criu-grant asked nobody');
    return consent;
  } finally {
    directory.close();
  }
}

function openProcess(pid: number): OwnedFd {
  try {
    return native.open(`/proc/${pid}`, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    throw new NotNamedError((error as NativeError).errno, `process ${pid} has ended`, { cause: error });
  }
}

function openEngine({ pid, isThere }: NamedEngine): OwnedFd {
  const directory = openProcess(pid);
  if (isThere()) return directory;
  directory.close();
  throw new NotNamedError(os.errno.ESRCH, `process ${pid} has ended`);
}

/** True for a process in the cgroup of a tree that this service has restored for this user: no user can move a process in there. */
function wasRestored(process: OwnedFd, uid: number): boolean {
  try {
    const path = cgroupOf(process);
    return restorerOf(path) === uid && cgroupOf(process) === path;
  } catch {
    // The process has ended, or its cgroup has.
    return false;
  }
}

/** By its directory in /proc, which stays its own. */
function cgroupOf(process: OwnedFd): string {
  return parseCgroup(readFileSync(`/proc/self/fd/${process.number}/cgroup`, 'latin1'));
}
