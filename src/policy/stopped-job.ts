/**
 * A stopped job that the kernel would end right after root has restored it. Pure.
 *
 * With shell_job CRIU puts the root of the tree into the session of its engine and leaves it its process group. When the engine exits,
 * that group has no parent in its session any more (it is orphaned), and the kernel sends it SIGHUP and SIGCONT if a member is stopped
 * (kill_orphaned_pgrp in its exit.c). The tree of a user is frozen at that moment, and none of it is stopped by a signal yet.
 */
import type { JobProcess } from '../proc/jobs.ts';
import type { Obstacle } from './comes-back.ts';

export function endedAsOrphans(root: number, tree: readonly JobProcess[]): Obstacle | undefined {
  const processes = new Map(tree.map((process) => [process.pid, process]));
  const leader = processes.get(root);
  // CRIU makes a session leader the leader of a session again; and it moves another member of a group into the group of its engine.
  if (!leader || leader.group !== root || leader.session === root) return undefined;
  const members = tree.filter(({ group }) => group === root);
  const stopped = members.find((member) => member.stopped);
  if (!stopped || members.some((member) => isHeld(member, processes.get(member.parent)))) return undefined;
  return {
    pid: stopped.pid,
    consequence: 'no-restore',
    what: 'is stopped, and the kernel would end its process group (SIGHUP) right after a restore with shell_job, as it has no parent in its session then',
    remedy: 'continue it first (kill -CONT), or use leave_running (criuctl: -R)',
  };
}

/** A parent in another group of the session keeps a group from being orphaned. */
function isHeld(member: JobProcess, parent: JobProcess | undefined): boolean {
  return parent !== undefined && parent.group !== member.group && parent.session === member.session;
}
