/** A merged directory in words, and as an object. Pure. */
import type { Merged } from '../../images/merge.ts';
import { sanitize } from '../../systemd/log.ts';
import { inBytes } from '../words.ts';

export function mergedInWords({ output, merged, files, memory }: Merged): string {
  const directories = merged === 1 ? 'one directory' : `${merged} directories`;
  const from = `${inBytes(memory.bytes)} of memory, ${inBytes(memory.fromParents)} of it from parents`;
  return sanitize(`${directories} merged into ${output}, which needs no parent: ${files} files, ${from}`);
}

/** The object of --json; man criuctl describes it. */
export function mergedAsJson(merged: Merged): object {
  return { verb: 'images', action: 'merge', ...merged };
}
