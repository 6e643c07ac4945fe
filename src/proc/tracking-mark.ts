/**
 * A mark in the memory of a process, which tells whether its tracked memory was cleared since by somebody else.
 *
 * An incremental dump leaves out the pages that are not soft-dirty (Documentation/admin-guide/mm/soft-dirty.rst). Whoever clears
 * these bits in between, as by another dump with --track-mem, takes changes away from it without a trace. So an unused page of each
 * process gets a mark right after the bits were cleared: as long as that page is soft-dirty and has the mark, nothing was cleared.
 */
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { ownPageBytes, softDirty } from './memory-tracking.ts';

/** Bytes between a mark and the stack pointer, which signal handlers and deeper calls may use. */
const room = 64 << 10;

/**
 * The process must be stopped.
 * @throws Error if it has no room for a mark, or of node:fs, as without the right to trace the process.
 */
export function placeMark(pid: number, mark: Buffer): void {
  const at = placeOf(pid);
  // Below the stack pointer nothing is in use, but for the red zone of the ABI. A stack pointer elsewhere, as in a coroutine, tells nothing.
  const [, pointer] =
    /^-?\d+ .*?0x([0-9a-f]+) 0x[0-9a-f]+$/m.exec(readFileSync(`/proc/${pid}/syscall`, 'latin1')) ?? [];
  const stack = stackOf(pid);
  const used = pointer === undefined ? 0 : Number.parseInt(pointer, 16);
  if (used - at < room || used > stack.end)
    throw new Error(`the stack of process ${pid} has no room for a mark`);
  use(`/proc/${pid}/mem`, 'r+', (fd) => {
    if (writeSync(fd, mark, 0, mark.length, at) !== mark.length) throw new Error('the mark was cut off');
  });
}

/** @returns false also for a process that cannot be read. */
export function hasMark(pid: number, mark: Buffer): boolean {
  try {
    const at = placeOf(pid);
    const entry = Buffer.alloc(8);
    const found = Buffer.alloc(mark.length);
    use(`/proc/${pid}/pagemap`, 'r', (fd) => readSync(fd, entry, 0, 8, (at / Number(ownPageBytes())) * 8));
    use(`/proc/${pid}/mem`, 'r', (fd) => readSync(fd, found, 0, found.length, at));
    return (entry.readBigUInt64LE() & softDirty) !== 0n && found.equals(mark);
  } catch {
    return false;
  }
}

/** The second page of the stack from below: execve(2) leaves 128 KiB below the first stack pointer. */
function placeOf(pid: number): number {
  return stackOf(pid).begin + Number(ownPageBytes());
}

function stackOf(pid: number): { readonly begin: number; readonly end: number } {
  const maps = readFileSync(`/proc/${pid}/maps`, 'latin1');
  const [, begin, end] = /^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ 00:00 0 +\[stack\]$/m.exec(maps) ?? [];
  if (begin === undefined || end === undefined) throw new Error(`process ${pid} has no stack`);
  return { begin: Number.parseInt(begin, 16), end: Number.parseInt(end, 16) };
}

function use<T>(path: string, flags: string, act: (fd: number) => T): T {
  const fd = openSync(path, flags);
  try {
    return act(fd);
  } finally {
    closeSync(fd);
  }
}
