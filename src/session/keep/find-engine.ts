/**
 * Which engine was started on a caller's own connection, where an earlier start of this service was killed before it could say so.
 * Our end of a connection is held by this service, by systemd's store, and by whom we have given it to.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { usualConnection } from '../../engine/engine.ts';
import { launcherFds } from '../../engine/launcher-protocol.ts';
import { native, type OwnedFd } from '../../native/binding.ts';
import { type Reading, readInTurns } from '../../proc/turns.ts';

/** Whoever takes it owns its pidfd. */
export interface Holder {
  readonly pid: number;
  readonly pidfd: OwnedFd;
}

/** A launcher moves it from the one to the other, in this order. */
const numbers = [launcherFds.callerSocket, usualConnection];

/** @returns the process that holds the connection with this inode, and whose parent does not; the store is our parent's. */
export async function holderOf(inode: string): Promise<Holder | undefined> {
  const link = `socket:[${inode}]`;
  const found = new Set(await readInTurns(findHolders(link)));
  const first = [...found].find((pid) => !found.has(native.parentOf(pid) ?? 0));
  return first === undefined ? undefined : hold(first, link);
}

function* findHolders(link: string): Reading<number[]> {
  const ours = new Set([1, process.ppid, process.pid]);
  const found: number[] = [];
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || ours.has(pid)) continue;
    if (holds(pid, link)) found.push(pid);
    yield;
  }
  return found;
}

function holds(pid: number, link: string): boolean {
  return numbers.some((number) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${number}`) === link;
    } catch (error) {
      // The process has ended, or has no such descriptor. Any other error could hide the engine.
      if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
      throw error;
    }
  });
}

/** The pidfd makes sure that it is the one that was looked at. */
function hold(pid: number, link: string): Holder | undefined {
  let pidfd: OwnedFd;
  try {
    pidfd = native.pidfdOpen(pid);
  } catch {
    // It has ended.
    return undefined;
  }
  if (holds(pid, link)) return { pid, pidfd };
  pidfd.close();
  return undefined;
}
