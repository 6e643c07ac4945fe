/**
 * The names of this service's cgroups. Each has an id that is unique on this machine, and begins with an id of this start of the
 * service.
 *
 * - `criu-restore-ID`, `criu-restore-capable-ID`: a restored tree; `criu-page-server-ID`: a page server; `criu-engine-ID`: any other
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

/** @param mayHold a restored tree may hold CAP_CHECKPOINT_RESTORE: it is root's, or its user holds the capability anyway. */
export function newName(kind: CgroupKind, mayHold: boolean): string {
  return `criu-${kind}-${kind === 'restore' && mayHold ? mayHoldMark : ''}${newId()}`;
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

/** True for a cgroup whose processes may hold CAP_CHECKPOINT_RESTORE for as long as they live. */
export function mayHoldCapability(path: string): boolean {
  return basename(path).startsWith(`criu-restore-${mayHoldMark}`);
}
