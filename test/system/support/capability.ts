/**
 * The invariant of this service: apart from root, only an engine at work holds CAP_CHECKPOINT_RESTORE. The tests look at all
 * processes, not only where the service looks.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { bitOf } from '../../../src/policy/capabilities.ts';
import { parseThreadStatus, parseTracing } from '../../../src/proc/status.ts';
import { eventually } from './bench.ts';
import { cgroupOf, endProcess } from './proc.ts';

const CAP_CHECKPOINT_RESTORE = bitOf('CHECKPOINT_RESTORE');

/** A process that holds the capability, with everything that helps to find its origin. */
export interface Holder {
  readonly pid: number;
  readonly description: string;
}

/** Processes without root in our user namespace with a thread that holds the capability. */
export function holders(except: ReadonlySet<number>): Holder[] {
  const found: Holder[] = [];
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || except.has(pid)) continue;
    try {
      const thread = readdirSync(`/proc/${pid}/task`).find((tid) => holdsIt(`/proc/${pid}/task/${tid}`));
      if (thread !== undefined) found.push({ pid, description: describeProcess(pid, thread) });
    } catch {
      // The process has ended.
    }
  }
  return found;
}

function holdsIt(thread: string): boolean {
  const text = readFileSync(`${thread}/status`, 'latin1');
  const { uids, permitted, effective, ambient } = parseThreadStatus(text);
  if (((permitted | effective | ambient) & CAP_CHECKPOINT_RESTORE) === 0n) return false;
  // A zombie keeps its credentials until its parent waits for it.
  if ('ZX'.includes(parseTracing(text).state) || uids.includes(0)) return false;
  // The capability of another user namespace has no effect here.
  return readlinkSync(`${thread}/ns/user`) === readlinkSync('/proc/self/ns/user');
}

function describeProcess(pid: number, thread: string): string {
  const of = (file: string): string => readFileSync(`/proc/${pid}/${file}`, 'latin1').trim();
  const lines = of(`task/${thread}/status`)
    .split('\n')
    .filter((line) => /^(Uid|PPid|Cap(Prm|Eff|Amb)):/.test(line));
  const command = of('cmdline').replaceAll('\0', ' ');
  return `${pid} (${of('comm')}, ${command}) in ${cgroupOf(pid)}: ${lines.join(', ').replaceAll('\t', ' ')}`;
}

/** To be called when all sessions of the test are over, or about to end. */
export async function assertNobodyHolds(except: ReadonlySet<number>): Promise<void> {
  try {
    await eventually('nobody without root holds the capability', () => holders(except).length === 0);
  } catch (error) {
    const left = holders(except);
    throw new Error(`${(error as Error).message}: ${left.map(({ description }) => description).join('; ')}`);
  }
}

/** Ends leftovers, so that each test is judged only by its own. */
export async function endHolders(except: ReadonlySet<number>): Promise<void> {
  await eventually('the holders of the capability have ended', () => {
    const left = holders(except);
    for (const { pid } of left) endProcess(pid);
    return left.length === 0;
  });
}
