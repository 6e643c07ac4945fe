import { readFileSync } from 'node:fs';

/** The children of this process that run this engine script. */
export function enginesOf(script: string): number[] {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'latin1');
  return (children.match(/[0-9]+/g) ?? []).map(Number).filter((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
      // A process in the middle of execve(2) has no command line yet; a zombie has none any more.
      if (command === '') return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
      return command.includes(script);
    } catch {
      // The process has ended.
      return false;
    }
  });
}
