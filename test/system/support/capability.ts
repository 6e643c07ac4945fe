/**
 * The invariant of this service: whoever is not root holds CAP_CHECKPOINT_RESTORE in an engine and only while that is at work. It is
 * looked for wherever it might be, and not where the service would look.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { bitOf } from '../../../src/policy/capabilities.ts';
import { parseThreadStatus, parseTracing } from '../../../src/proc/status.ts';
import { eventually } from './bench.ts';
import { cgroupOf, endProcess } from './proc.ts';

const CAP_CHECKPOINT_RESTORE = bitOf('CHECKPOINT_RESTORE');

/** A process that holds it, with all that helps to find out whence it came. */
export interface Holder {
  readonly pid: number;
  readonly description: string;
}

/** Processes without root in our user namespace of which some thread holds the capability. */
export function holders(except: ReadonlySet<number>): Holder[] {
  const found: Holder[] = [];
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || except.has(pid)) continue;
    try {
      const thread = readdirSync(`/proc/${pid}/task`).find((tid) => holdsIt(`/proc/${pid}/task/${tid}`));
      if (thread !== undefined) found.push({ pid, description: describeProcess(pid, thread) });
    } catch {
      // It has ended.
    }
  }
  return found;
}

function holdsIt(thread: string): boolean {
  const text = readFileSync(`${thread}/status`, 'latin1');
  const { uids, permitted, effective, ambient } = parseThreadStatus(text);
  if (((permitted | effective | ambient) & CAP_CHECKPOINT_RESTORE) === 0n) return false;
  // What has ended keeps its numbers until its parent has asked for them.
  if ('ZX'.includes(parseTracing(text).state) || uids.includes(0)) return false;
  // In another user namespace it means nothing here.
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

/** Every session of the test is over by then, or about to be. */
export async function assertNobodyHolds(except: ReadonlySet<number>): Promise<void> {
  try {
    await eventually('nobody without root holds the capability', () => holders(except).length === 0);
  } catch (error) {
    const left = holders(except);
    throw new Error(`${(error as Error).message}: ${left.map(({ description }) => description).join('; ')}`);
  }
}

/** Each test is to be judged by what it has left itself. */
export async function endHolders(except: ReadonlySet<number>): Promise<void> {
  await eventually('the holders of the capability have ended', () => {
    const left = holders(except);
    for (const { pid } of left) endProcess(pid);
    return left.length === 0;
  });
}
