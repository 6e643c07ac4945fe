/**
 * Finds the engine of a hand-over after a restart, if the service was killed before it could save the engine's pid: the engine
 * holds the caller's own connection. Otherwise only this service and systemd's store hold our end of it.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { usualConnection } from '../../engine/engine.ts';
import { launcherFds } from '../../engine/launcher-protocol.ts';
import { native, type OwnedFd } from '../../native/binding.ts';
import { type Reading, readInTurns } from '../../proc/turns.ts';

/** A process that holds the connection. The receiver owns the pidfd. */
export interface Holder {
  readonly pid: number;
  readonly pidfd: OwnedFd;
}

/** The numbers under which a launcher, then its engine holds the connection. The launcher moves it in this order. */
const numbers = [launcherFds.callerSocket, usualConnection];

/** @returns the topmost process that holds the connection with this inode; our parent, systemd, with its store is left out. */
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

/** Opens the pidfd first, then checks again: the pid may have been reused since the first look (TOCTOU). */
function hold(pid: number, link: string): Holder | undefined {
  let pidfd: OwnedFd;
  try {
    pidfd = native.pidfdOpen(pid);
  } catch {
    // The process has ended.
    return undefined;
  }
  if (holds(pid, link)) return { pid, pidfd };
  pidfd.close();
  return undefined;
}
