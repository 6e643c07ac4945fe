/** The cgroup of a process, as far as it is an engine's. */
import { readFileSync } from 'node:fs';
import type { EngineCgroup } from '../../engine/engine-cgroup.ts';
import { isEngineCgroup } from '../../engine/our-cgroups.ts';
import { parseCgroup } from '../../proc/process-tree.ts';

/** Undefined for a privileged engine, and for a process that has ended. */
export function engineCgroupOf(pid: number): string | undefined {
  try {
    const path = cgroupOf(pid);
    return isEngineCgroup(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

export function livesIn(cgroup: EngineCgroup, pid: number): boolean {
  try {
    return cgroupOf(pid) === cgroup.path;
  } catch {
    // The process has ended.
    return false;
  }
}

function cgroupOf(pid: number): string {
  return parseCgroup(readFileSync(`/proc/${pid}/cgroup`, 'latin1'));
}
