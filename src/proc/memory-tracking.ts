/** Whether this kernel tracks changed memory: Documentation/admin-guide/mm/soft-dirty.rst and pagemap.rst. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

const present = 1n << 63n;
export const softDirty = 1n << 55n;

let known: boolean | undefined;

/** Read once: the kernel stays the same. False also while it cannot be read. */
export function kernelTracksMemory(): boolean {
  try {
    known ??= seesOwnChanges();
    return known;
  } catch {
    return false;
  }
}

/** A page that was written to, and never cleared since, is soft-dirty. So is the stack of this process. */
function seesOwnChanges(): boolean {
  const stack = /^([0-9a-f]+)-([0-9a-f]+) .* \[stack\]$/m.exec(readFileSync('/proc/self/maps', 'latin1'));
  return stack !== null && pagesOf(BigInt(`0x${stack[1]}`), BigInt(`0x${stack[2]}`)).some(isChanged);
}

function isChanged(page: bigint): boolean {
  return (page & present) !== 0n && (page & softDirty) !== 0n;
}

/** The entries of /proc/self/pagemap for a mapping, 64 bits for each page. */
function pagesOf(begin: bigint, end: bigint): bigint[] {
  const pageBytes = ownPageBytes();
  const pagemap = openSync('/proc/self/pagemap', 'r');
  try {
    const bytes = Buffer.alloc(Number((end - begin) / pageBytes) * 8);
    const read = readSync(pagemap, bytes, 0, bytes.length, (begin / pageBytes) * 8n);
    return [...new BigUint64Array(bytes.buffer, bytes.byteOffset, Math.floor(read / 8))];
  } finally {
    closeSync(pagemap);
  }
}

/** AT_PAGESZ of getauxval(3): pairs of 64 bits, the key 6. */
export function ownPageBytes(): bigint {
  const vector = readFileSync('/proc/self/auxv');
  const words = new BigUint64Array(vector.buffer, vector.byteOffset, Math.floor(vector.length / 8));
  const at = words.findIndex((key, index) => index % 2 === 0 && key === 6n);
  const bytes = words[at + 1];
  if (at === -1 || bytes === undefined) throw new Error('/proc/self/auxv names no page size');
  return bytes;
}
