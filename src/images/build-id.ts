/** The build-id of an ELF file, elf(5): NT_GNU_BUILD_ID in its notes. CRIU looks for it in the first megabyte. */
import { readSync } from 'node:fs';

const lookedAt = 1 << 20;
const noteSegment = 4;
const buildIdNote = 3;
const mostNotes = 100;
const mostSegments = 200;

/** @returns hexadecimal digits; undefined if the file has none, or is no ELF file of this kind of machine. */
export function buildIdOf(fd: number): string | undefined {
  const head = part(fd, 0, 64);
  if (head.length < 64 || head.readUInt32BE(0) !== 0x7f454c46 || head[5] !== 1) return undefined;
  const wide = head[4] === 2;
  const table = wide ? Number(head.readBigUInt64LE(32)) : head.readUInt32LE(28);
  const size = head.readUInt16LE(wide ? 54 : 42);
  const count = Math.min(head.readUInt16LE(wide ? 56 : 44), mostSegments);
  if (size < (wide ? 56 : 32) || table + size * count > lookedAt) return undefined;
  const segments = part(fd, table, size * count);
  for (let at = 0; at + size <= segments.length; at += size) {
    if (segments.readUInt32LE(at) !== noteSegment) continue;
    const offset = wide ? Number(segments.readBigUInt64LE(at + 8)) : segments.readUInt32LE(at + 4);
    const bytes = wide ? Number(segments.readBigUInt64LE(at + 32)) : segments.readUInt32LE(at + 16);
    if (offset > lookedAt || bytes > lookedAt) continue;
    const found = buildIdIn(part(fd, offset, bytes));
    if (found !== undefined) return found;
  }
  return undefined;
}

function buildIdIn(notes: Buffer): string | undefined {
  for (let at = 0, count = 0; at + 12 <= notes.length && count < mostNotes; count++) {
    const name = at + 12;
    const description = name + padded(notes.readUInt32LE(at));
    const bytes = notes.readUInt32LE(at + 4);
    const isGnu = notes.subarray(name, name + 4).toString('latin1') === 'GNU\0';
    if (isGnu && notes.readUInt32LE(at + 8) === buildIdNote)
      return notes.subarray(description, description + bytes).toString('hex');
    at = description + padded(bytes);
  }
  return undefined;
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}

function part(fd: number, offset: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  return buffer.subarray(0, readSync(fd, buffer, 0, bytes, offset));
}
