/** Tells which processes run a program that was started across a privilege boundary (AT_SECURE in getauxval(3)). */
import { constants } from 'node:fs';
import { native, type ProcAnswer } from '../native/binding.ts';
import { within } from './deadline.ts';
import { parseAuxvSecure } from './status.ts';

/** A process inside execve(2) can keep the reader of its auxv waiting for as long as its user likes (caller-reader.ts). */
const deadlineMs = 30_000;

/** Fails closed: a process whose auxv cannot be read in time is among the result. */
export async function runsAcrossPrivileges(pids: readonly number[]): Promise<ReadonlySet<number>> {
  if (pids.length === 0) return new Set();
  const proc = native.open('/proc', constants.O_RDONLY | constants.O_DIRECTORY);
  const reading = native.readElsewhere(
    proc,
    pids.map((pid) => ({ read: 'file', path: `${pid}/auxv` })),
  );
  proc.close();
  const answers = await within<readonly ProcAnswer[] | undefined>(deadlineMs, reading, () => undefined);
  return new Set(
    pids.filter((_pid, at) => {
      const auxv = answers?.[at];
      return typeof auxv !== 'string' || parseAuxvSecure(Buffer.from(auxv, 'latin1'));
    }),
  );
}
