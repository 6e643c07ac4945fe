/** The files of CRIU's images: two magic words, then entries, each behind its length (criu/protobuf.c). */

/** IMG_COMMON_MAGIC of criu/include/magic.h, and that of each kind. */
const common = 0x54564319;
export const magic = {
  pstree: 0x50273030,
  ids: 0x54432030,
  fdinfo: 0x56213732,
  files: 0x56303138,
  ttyInfo: 0x59453036,
  remaps: 0x59133954,
} as const;

const headBytes = 8;
const lengthBytes = 4;

/** @returns undefined for a file of another kind, and for one that is cut off. */
export function entriesOf(file: Buffer, kind: number): Buffer[] | undefined {
  if (file.length < headBytes || file.readUInt32LE(0) !== common || file.readUInt32LE(4) !== kind)
    return undefined;
  const entries: Buffer[] = [];
  for (let at = headBytes; at < file.length; ) {
    if (at + lengthBytes > file.length) return undefined;
    const length = file.readUInt32LE(at);
    at += lengthBytes;
    if (at + length > file.length) return undefined;
    entries.push(file.subarray(at, at + length));
    at += length;
  }
  return entries;
}

export function fileOf(entries: readonly Uint8Array[], kind: number): Buffer {
  const word = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return bytes;
  };
  return Buffer.concat([
    word(common),
    word(kind),
    ...entries.flatMap((entry) => [word(entry.length), entry]),
  ]);
}
