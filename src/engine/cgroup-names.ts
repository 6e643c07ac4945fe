/**
 * The names of this service's cgroups. Each has an id that is unique on this machine, and begins with an id of this start of the
 * service.
 *
 * - `criu-restore-UID-ID`, `criu-restore-capable-ID`: a restored tree of that user's; `criu-page-server-ID`: a page server; `criu-engine-ID`: any other
 *   engine. They lie below the cgroup of their caller, or, with `.scope` behind the name, in the caller's slice.
 * - `criu-apart-NAME`: the engine of the tree in NAME, beside that cgroup.
 */
import { basename } from 'node:path';

/** The reason to keep a cgroup when its engine has exited: a restored tree, or a page server that waits for its connection. */
export type ScopeKind = 'restore' | 'page-server';

export type CgroupKind = ScopeKind | 'engine';

const mayHoldMark = 'capable-';

const nestedName = /^criu-(restore|page-server|engine|apart)-[^/]*[0-9a-f]{12}-\d+$/;

let thisStart: string | undefined;
let nextId = 1;

/** A new id. */
export function newId(): string {
  // Loaded here, because the first answer hardly ever needs it.
  thisStart ??= process.getBuiltinModule('node:crypto').randomBytes(6).toString('hex');
  return `${thisStart}-${nextId++}`;
}

/** The owner of a restored tree. */
export interface TreeOwner {
  readonly uid: number;
  /** The tree may hold CAP_CHECKPOINT_RESTORE: it is root's, or its user holds the capability anyway. */
  readonly mayHold: boolean;
}

export function newName(kind: CgroupKind, { uid, mayHold }: TreeOwner): string {
  const mark = kind !== 'restore' ? '' : mayHold ? mayHoldMark : `${uid}-`;
  return `criu-${kind}-${mark}${newId()}`;
}

/** The name of the cgroup for the engine of a tree. */
export function apartName(tree: string): string {
  return `criu-apart-${tree}`;
}

/** The name of the tree's cgroup; undefined for any other name. */
export function treeOfApart(name: string): string | undefined {
  return /^criu-apart-(.+)$/.exec(name)?.[1];
}

/** The kind of a cgroup with this name below its caller's cgroup; undefined for any other name. */
export function nestedKind(name: string): CgroupKind | 'apart' | undefined {
  return nestedName.exec(name)?.[1] as CgroupKind | 'apart' | undefined;
}

/** True for a cgroup that was named by this start of the service, whether or not it exists yet. */
export function isOfThisStart(path: string): boolean {
  return thisStart !== undefined && basename(path).includes(`-${thisStart}-`);
}

/** The uid in the name of a cgroup for a restored tree that cannot hold the capability; undefined for any other name. */
export function restorerIn(path: string): number | undefined {
  const uid = /^criu-restore-(\d+)-[0-9a-f]{12}-\d+(\.scope)?$/.exec(basename(path))?.[1];
  return uid === undefined ? undefined : Number(uid);
}

/** True for a cgroup whose processes may hold CAP_CHECKPOINT_RESTORE for as long as they live. */
export function mayHoldCapability(path: string): boolean {
  return basename(path).startsWith(`criu-restore-${mayHoldMark}`);
}
