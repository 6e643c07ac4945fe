/** Recognizes the cgroups of this service, and the places where they lie. */
import { readdir, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { restorerIn, type ScopeKind } from './cgroup-names.ts';
import { cgroupRegister } from './cgroup-register.ts';

const namesIn = promisify(readdir);

export const enginePrefix = 'engine-';

export const apartPrefix = `${enginePrefix}apart-`;

export const pageServerMark = 'page-server-';

/** True for a cgroup where a page server works on after its session, with the capability of its engine. */
export function isPageServerCgroup(path: string): boolean {
  return (
    isTreeCgroup(path, 'page-server') ||
    path.startsWith(join(ownCgroup(), `${enginePrefix}${pageServerMark}`))
  );
}

/** ENODEV: the cgroup was removed while its file was open (kernfs). */
export function isGone(error: unknown): boolean {
  return ['ENOENT', 'ENODEV'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** The directories of all our scopes; an empty list without cgroup v2. */
export function ownScopes(): AsyncIterable<string> | string[] {
  try {
    return scopesBelow(unifiedMount());
  } catch {
    return [];
  }
}

/** Scopes lie in slices, and slices in slices. */
async function* scopesBelow(directory: string): AsyncGenerator<string> {
  for (const name of await namesIn(directory).catch(() => [])) {
    if (scopeName.test(name)) yield join(directory, name);
    else if (name.endsWith('.slice')) yield* scopesBelow(join(directory, name));
  }
}

const scopeName = /^criu-(restore|page-server)-[^/]+\.scope$/;

/** True for a cgroup of engines below this service's own, for its descendants, and for one below the cgroup of a caller. */
export function isEngineCgroup(path: string): boolean {
  const kind = cgroupRegister.kindOf(path);
  return kind === 'engine' || kind === 'apart' || path.startsWith(join(ownCgroup(), enginePrefix));
}

/** True for a cgroup below that of a caller, who may own the one above. */
export function isNested(path: string): boolean {
  return cgroupRegister.kindOf(path) !== undefined;
}

/**
 * True for a scope of ours, or a cgroup of the same use below that of a caller: it holds an engine or page server at work, or a
 * verified tree. A user's own manager has its scopes below a service, and may give them any name, so only scopes directly in slices
 * count, and cgroups in the register.
 */
export function isTreeCgroup(path: string, kind?: ScopeKind): boolean {
  const nested = cgroupRegister.kindOf(path);
  if (nested === 'restore' || nested === 'page-server') return kind === undefined || nested === kind;
  const slices = path.split('/').filter((part) => part !== '');
  const scope = slices.pop() ?? '';
  if (kind !== undefined && scopeName.exec(scope)?.[1] !== kind) return false;
  return scopeName.test(scope) && slices.every((part) => part.endsWith('.slice'));
}

/**
 * The user without root for whom this service has restored the tree in this cgroup; undefined for any other cgroup. In a cgroup of a
 * caller's the caller may put another in the place of an empty one of ours, but that is not root's.
 */
export function restorerOf(path: string): number | undefined {
  const uid = restorerIn(path);
  const isOurs = uid !== undefined && isTreeCgroup(path, 'restore');
  return isOurs && statSync(join(unifiedMount(), path)).uid === 0 ? uid : undefined;
}

let own: string | undefined;

/** This service's own cgroup; it stays the same while the service runs. */
export function ownCgroup(): string {
  own ??= /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'latin1'))?.[1] ?? '/';
  return own;
}

let mount: string | undefined;

/** The mount point of the unified hierarchy: /sys/fs/cgroup on all but hybrid systems. */
export function unifiedMount(): string {
  mount ??= readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' - '))
    .find(([, after]) => after?.startsWith('cgroup2 '))?.[0]
    ?.split(' ')[4];
  if (mount === undefined) throw new Error('No cgroup v2 hierarchy is mounted');
  return mount;
}
