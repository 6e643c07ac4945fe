/**
 * Decides in which cgroup an engine works for its caller, so that what the engine does, and what it restores, is charged to the
 * caller's unit, limited by that unit, and ended with it. Pure.
 *
 * - `within`: a cgroup of this service's own below the caller's. All limits of the caller's unit hold there, and filters for addresses
 *   and devices, too. The kernel allows a child cgroup beside processes, because no controller is handed down to it.
 * - `scope`: a transient scope in the slice. A tree that is restored in a login session outlives the session, as it does without this
 *   service if a user starts it by `systemd-run --scope`.
 * - `service`: below this service's own cgroup, for a caller that is in no unit.
 */
export type EnginePlace =
  | { readonly is: 'within'; readonly cgroup: string }
  | { readonly is: 'scope'; readonly slice: string }
  | { readonly is: 'service' }
  /** The reason is a predicate; the caller is its subject. */
  | { readonly is: 'refused'; readonly reason: string };

/** The cgroup of a caller. */
export interface CallerCgroup {
  /** As in /proc/PID/cgroup. */
  readonly path: string;
  /** The content of cgroup.type; undefined if there is none: the root of the hierarchy, or a cgroup that was removed. */
  readonly type: string | undefined;
  /** The path of the cgroup above, if the caller's own is one that this service has made below it. */
  readonly nestedIn?: string | undefined;
}

/** @param stays processes stay after the engine: a restored tree, a page server. */
export function placeFor({ path, type, nestedIn }: CallerCgroup, stays: boolean): EnginePlace {
  const parts = path.split('/').filter((part) => part !== '');
  if (parts.includes('..')) return refused('is in a cgroup that this service cannot see');
  const units = parts.filter((part) => !part.endsWith('.slice'));
  if (units.length === 0) return stays ? inSlice(path) : { is: 'service' };
  if (stays && (isLogin(parts) || isScopeOfOurs(parts))) return inSlice(path);
  if (type === undefined) return refused('is in a cgroup that was removed');
  if (type !== 'domain')
    return refused(`is in a cgroup of the type "${type}", which can have none for an engine below it`);
  return { is: 'within', cgroup: nestedIn ?? path };
}

/** A login session, as systemd-logind names it: `session-ID.scope` in the slice of a user. */
function isLogin(parts: readonly string[]): boolean {
  const [user, slice, session] = parts;
  return (
    parts.length === 3 &&
    user === 'user.slice' &&
    /^user-\d+\.slice$/.test(slice!) &&
    /^session-[^/]+\.scope$/.test(session!)
  );
}

/** A tree that was restored in a login session, and asks in its turn. */
function isScopeOfOurs(parts: readonly string[]): boolean {
  return (
    /^criu-restore-[^/]+\.scope$/.test(parts.at(-1)!) &&
    parts.slice(0, -1).every((part) => part.endsWith('.slice'))
  );
}

function inSlice(path: string): EnginePlace {
  return { is: 'scope', slice: sliceOf(path) };
}

function refused(reason: string): EnginePlace {
  return { is: 'refused', reason };
}

/**
 * The slice of a cgroup, as a unit name: the last `*.slice` before any other part.
 * `/user.slice/user-1000.slice/user@1000.service/app.slice` is in `user-1000.slice`; `/` in the root slice, `-.slice`.
 */
export function sliceOf(path: string): string {
  let slice = '-.slice';
  for (const part of path.split('/').filter((each) => each !== '')) {
    if (!part.endsWith('.slice')) break;
    slice = part;
  }
  return slice;
}
