/** Writes images for tests, by the reader's own table of messages. */
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { headMagics } from '../../../../src/images/head-magics.ts';
import { kinds } from '../../../../src/images/kinds.ts';
import { wireTypeOf } from '../../../../src/images/message.ts';
import { type Field, messageType } from '../../../../src/images/schema.ts';

export type Value = number | bigint | string | boolean | Uint8Array | Fields | readonly Value[];
export interface Fields {
  readonly [name: string]: Value;
}

export function varint(value: bigint | number): Buffer {
  const bytes: number[] = [];
  for (let left = BigInt.asUintN(64, BigInt(value)); ; left >>= 7n) {
    if (left < 128n) return Buffer.from([...bytes, Number(left)]);
    bytes.push(Number(left & 127n) | 128);
  }
}

export function tag(number: number, wireType: number): Buffer {
  return varint((BigInt(number) << 3n) | BigInt(wireType));
}

export function sized(bytes: Uint8Array): Buffer {
  return Buffer.concat([varint(bytes.length), bytes]);
}

export function encode(type: string, fields: Fields): Buffer {
  const { byName } = messageType(type);
  return Buffer.concat(
    Object.entries(fields).flatMap(([name, value]) => {
      const field = byName.get(name);
      if (!field) throw new Error(`${type} has no ${name}`);
      const values = Array.isArray(value) ? (value as readonly Value[]) : [value as Value];
      return values.map((each) =>
        Buffer.concat([tag(field.number, wireTypeOf(field)), encodeValue(field, each)]),
      );
    }),
  );
}

function encodeValue({ content }: Field, value: Value): Buffer {
  switch (content.is) {
    case 'message':
      return sized(encode(content.message.name, value as Fields));
    case 'string':
      return sized(Buffer.from(value as string));
    case 'bytes':
      return sized(value as Uint8Array);
    case 'enum': {
      const [number] = [...content.names].find(([, name]) => name === value) ?? [value as number];
      return varint(number);
    }
    case 'sint32':
    case 'sint64': {
      const number = BigInt(value as number);
      return varint((number << 1n) ^ (number >> 63n));
    }
    case 'fixed32':
    case 'fixed64': {
      const bytes = Buffer.alloc(content.is === 'fixed32' ? 4 : 8);
      if (content.is === 'fixed32') bytes.writeUInt32LE(Number(value));
      else bytes.writeBigUInt64LE(BigInt(value as number));
      return bytes;
    }
    default:
      return varint(BigInt(value as number | boolean));
  }
}

export function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function record(bytes: Uint8Array): Buffer {
  return Buffer.concat([word(bytes.length), bytes]);
}

export function head(kind: string): Buffer {
  const { magic } = kinds.find(({ name }) => name === kind)!;
  const first = kind === 'STATS' || kind === 'IRMAP_CACHE' ? headMagics[1]! : headMagics[0]!;
  return kind === 'INVENTORY' ? word(magic) : Buffer.concat([word(first), word(magic)]);
}

/** An image of this kind; raw bytes stand between the records as they are. */
export function image(kind: string, ...parts: readonly (Fields | Uint8Array)[]): Buffer {
  const { records } = kinds.find(({ name }) => name === kind)!;
  let index = 0;
  return Buffer.concat([
    head(kind),
    ...parts.map((part) =>
      part instanceof Uint8Array
        ? part
        : record(encode(records[Math.min(index++, records.length - 1)]!.name, part)),
    ),
  ]);
}

/** Files that this process has open in directories of this name. Others may be opened by the programs around the tests. */
export function openBelow(name: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.includes(`/${name}`) ? [target] : [];
    } catch {
      // It was the directory of this listing.
      return [];
    }
  });
}

/** Runs with a directory that has these files. */
export function withFiles<T>(files: Readonly<Record<string, Uint8Array>>, use: (directory: string) => T): T {
  const directory = mkdtempSync(join(tmpdir(), 'images-'));
  try {
    for (const [name, bytes] of Object.entries(files)) writeFileSync(join(directory, name), bytes);
    return use(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The same for a use that takes its time. @param prefix of the directory's name. */
export async function withFilesDuring<T>(
  files: Readonly<Record<string, Uint8Array>>,
  use: (directory: string) => Promise<T>,
  prefix = 'images-',
): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), prefix));
  try {
    for (const [name, bytes] of Object.entries(files)) writeFileSync(join(directory, name), bytes);
    return await use(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The same for a use by criuctl, which for root keeps the directories of a request open until it exits: other tests count theirs. */
export function withFilesOfCriuctl<T>(
  files: Readonly<Record<string, Uint8Array>>,
  use: (directory: string) => Promise<T>,
): Promise<T> {
  return withFilesDuring(files, use, 'criuctl-');
}
