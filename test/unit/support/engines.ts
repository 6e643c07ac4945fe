import { readFileSync } from 'node:fs';

/** The children of this process that run this engine script. */
export function enginesOf(script: string): number[] {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'latin1');
  return (children.match(/[0-9]+/g) ?? []).map(Number).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(script);
    } catch {
      // The process has ended.
      return false;
    }
  });
}
