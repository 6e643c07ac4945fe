/** The place where an engine works for its caller: the caller's cgroup, as the kernel tells it at this moment. */
import { readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { nestedKind } from '../../engine/cgroup-names.ts';
import { unifiedMount } from '../../engine/our-cgroups.ts';
import { type CallerCgroup, type EnginePlace, placeFor, sliceOf } from '../../policy/place.ts';
import type { Caller } from '../../proc/caller.ts';
import { parseCgroup } from '../../proc/process-tree.ts';

/** As in /proc/PID/cgroup. @throws Error of reading /proc, also if the caller has ended */
export function cgroupOfCaller(caller: Caller): string {
  return parseCgroup(readFileSync(`/proc/self/fd/${caller.directory.number}/cgroup`, 'latin1'));
}

/** @param path the caller's cgroup. @param stays processes stay after the engine: a restored tree, a page server. */
export function placeOf(path: string, stays: boolean): EnginePlace {
  return placeFor(look(path), stays);
}

/** The slice to which the trees of a fully privileged caller are charged. @throws as {@link cgroupOfCaller} */
export function sliceOfCaller(caller: Caller): string {
  return sliceOf(cgroupOfCaller(caller));
}

function look(path: string): CallerCgroup {
  const type = typeOf(path);
  // In a cgroup that the caller owns, it may give any name to its own, but those are not root's.
  return nestedKind(basename(path)) !== undefined && isRoots(path)
    ? { path, type: typeOf(dirname(path)), nestedIn: dirname(path) }
    : { path, type };
}

function typeOf(path: string): string | undefined {
  try {
    return readFileSync(join(unifiedMount(), path, 'cgroup.type'), 'latin1').trim();
  } catch {
    return undefined;
  }
}

function isRoots(path: string): boolean {
  return statSync(join(unifiedMount(), path), { throwIfNoEntry: false })?.uid === 0;
}
