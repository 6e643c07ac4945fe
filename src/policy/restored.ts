/**
 * Judges whether a restored tree may run its first instruction. Pure: a judgement over what /proc says of the tree while its
 * cgroup is frozen.
 *
 * The caller writes the images, and CRIU restores their content with the engine's rights. So each thread of each process is
 * compared with the caller. The images prove nothing, and the leader alone is not enough, because credentials are per thread.
 */
import type { ThreadState } from '../proc/caller.ts';
import type { Tracing } from '../proc/status.ts';
import type { Traits } from './standing.ts';

/** One thread of a frozen member of the cgroup. */
export interface RestoredThread extends ThreadState, Tracing {
  readonly pid: number;
  readonly label: string | undefined;
}

/** The caller of the RESTORE. */
export interface Restorer {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly traits: Traits;
  /** The namespaces and the root directory of the engine: this service's own, except for {@link inTimeNamespace}. */
  readonly surroundings: Surroundings;
}

type Surroundings = Pick<ThreadState, 'namespaces' | 'root'>;

/** @param made the time namespace that was made for the engine; without one, the engine has the service's. */
export function inTimeNamespace(service: Surroundings, made: string | undefined): Surroundings {
  if (made === undefined) return service;
  return { ...service, namespaces: { ...service.namespaces, time: made, time_for_children: made } };
}

/**
 * @param engine the engine's pid: the only member that is not judged.
 * @returns why the tree must not run; undefined when it may.
 */
export function judgeRestored(
  threads: readonly RestoredThread[],
  engine: number,
  restorer: Restorer,
): string | undefined {
  if (!threads.some(({ pid }) => pid === engine)) return 'the engine has gone before its work was verified';
  const tree = threads.filter(({ pid }) => pid !== engine);
  if (tree.length === 0) return 'there is no restored process';
  for (const thread of tree) {
    const reason = judgeThread(thread, engine, restorer);
    if (reason !== undefined) return `${nameOf(thread)} ${reason}`;
  }
  return undefined;
}

/**
 * Judges the rest of a verified tree after its engine has exited. Nothing of the tree has run, so any new rights of a thread came
 * from a process with the engine's rights.
 * @returns why the tree must not run; undefined when it may. Without a thread nothing is known of it: it was killed, or moved away.
 */
export function judgeReleased(threads: readonly RestoredThread[], restorer: Restorer): string | undefined {
  if (threads.length === 0) return 'is not in its scope any more';
  for (const thread of threads) {
    const reason = thread.tracer === 0 ? judgeCredentials(thread, restorer) : 'is traced';
    if (reason !== undefined) return `${nameOf(thread)} ${reason}`;
  }
  return undefined;
}

function nameOf({ pid, tid }: RestoredThread): string {
  return `process ${pid}${tid === pid ? '' : `, thread ${tid},`}`;
}

function judgeThread(thread: RestoredThread, engine: number, restorer: Restorer): string | undefined {
  // A zombie is only an exit status. Its credentials count all the same, because its parent could not tell the difference.
  if (thread.state !== 'Z' && (thread.state !== 't' || thread.tracer !== engine)) {
    return 'is not held by the engine';
  }
  const reason = judgeCredentials(thread, restorer);
  if (reason !== undefined || thread.state === 'Z') return reason;
  const { surroundings } = restorer;
  if (thread.root !== surroundings.root) return 'has another root directory';
  for (const name of new Set([...Object.keys(surroundings.namespaces), ...Object.keys(thread.namespaces)])) {
    if (thread.namespaces[name] !== surroundings.namespaces[name]) return `is in another ${name} namespace`;
  }
  return undefined;
}

function judgeCredentials(thread: RestoredThread, restorer: Restorer): string | undefined {
  const { uid, gid, groups, traits } = restorer;
  if (thread.uids.some((each) => each !== uid))
    return `has the uids ${thread.uids.join(' ')}, and yours is ${uid}`;
  if (thread.gids.some((each) => each !== gid))
    return `has the gids ${thread.gids.join(' ')}, and yours is ${gid}`;
  if (thread.groups.length !== groups.length || thread.groups.some((each, i) => each !== groups[i])) {
    return `has the groups ${thread.groups.join(' ')}, and yours are ${groups.join(' ')}`;
  }
  for (const set of ['permitted', 'inheritable', 'bounding', 'ambient'] as const) {
    if ((thread[set] & ~traits[set]) !== 0n) return `has ${set} capabilities that you do not have`;
  }
  if ((thread.effective & ~traits.permitted) !== 0n) return 'has effective capabilities that you do not have';
  if (traits.noNewPrivs && !thread.noNewPrivs) return 'lacks the no_new_privs that you have';
  if (thread.label !== traits.label) return `has the security label ${thread.label ?? '(none)'}`;
  return undefined;
}
