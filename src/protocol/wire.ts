/**
 * Reads the protobuf wire format step by step: tags, varints, lengths.
 *
 * A reader reports the bytes on the wire and their spelling, and decides nothing. The strict scan decides what is allowed; the
 * lenient decoder follows CRIU's reading.
 */

/** The wire types of protobuf. Groups fell out of use in 2008; protobuf-c cannot read them. */
export const WireType = {
  VARINT: 0,
  FIXED64: 1,
  BYTES: 2,
  GROUP_START: 3,
  GROUP_END: 4,
  FIXED32: 5,
} as const;

const wireTypeNames = ['varint', 'fixed64', 'bytes', 'start of a group', 'end of a group', 'fixed32'];

export function wireTypeName(wireType: number): string {
  return wireTypeNames[wireType] ?? `wire type ${wireType}`;
}

/**
 * Malformed bytes. `why` completes a sentence that begins with the field; `offset` counts bytes from the start of the packet.
 * Thrown within this folder and to the reader of images only: other exported functions return values.
 */
export class WireError extends Error {
  override name = 'WireError';
  readonly why: string;
  readonly offset: number;

  constructor(why: string, offset: number) {
    super(`byte ${offset} ${why}`);
    this.why = why;
    this.offset = offset;
  }

  /** The whole sentence, for the field at `path`. */
  about(path: string): string {
    return `${path} (byte ${this.offset}) ${this.why}`;
  }
}

/** A field's path in a packet, as `opts.ps.port`; the packet itself is named after its message. */
export class FieldPath {
  readonly #root: string;
  readonly #names: string[] = [];

  constructor(root: string) {
    this.#root = root;
  }

  enter(name: string): void {
    this.#names.push(name);
  }

  leave(): void {
    this.#names.pop();
  }

  toString(): string {
    return this.#names.length > 0 ? this.#names.join('.') : this.#root;
  }
}

/** Walks over one message, or the part of a packet that holds a message. */
export class WireReader {
  readonly bytes: Uint8Array;
  readonly end: number;
  position: number;

  /** The last varint: its lower and upper 32 bits, unsigned, and whether a shorter spelling exists. */
  low = 0;
  high = 0;
  minimal = true;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.bytes = bytes;
    this.position = start;
    this.end = end;
  }

  get more(): boolean {
    return this.position < this.end;
  }

  /**
   * Reads a varint of at most `maxBytes` into `low`, `high` and `minimal`. Drops bits above the 64th. `what` is its name in the
   * error sentence: tag, length or value.
   */
  varint(what: string, maxBytes = 10): void {
    const start = this.position;
    let low = 0;
    let high = 0;
    for (let index = 0; index < maxBytes; index++) {
      const at = start + index;
      if (at >= this.end) throw new WireError(`has a ${what} that is cut off`, start);
      const byte = this.bytes[at]!;
      const bits = byte & 0x7f;
      // Each byte has seven bits, so the fifth byte straddles the border between the two halves.
      if (index < 4) low |= bits << (7 * index);
      else if (index === 4) {
        low |= bits << 28;
        high = bits >> 4;
      } else high |= bits << (7 * index - 32);

      if (byte < 0x80) {
        this.position = at + 1;
        this.low = low >>> 0;
        this.high = high >>> 0;
        // A final byte of zero adds nothing; a tenth byte has room for the 64th bit only.
        this.minimal = (byte !== 0 || index === 0) && (index < 9 || byte === 1);
        return;
      }
    }
    throw new WireError(`has a ${what} of more than ${maxBytes} bytes`, start);
  }

  /** Skips `count` bytes, which must exist, and returns their start. */
  take(count: number): number {
    const start = this.position;
    const left = this.end - start;
    if (count > left) throw new WireError(`needs ${count} bytes where ${left} are left`, start);
    this.position = start + count;
    return start;
  }
}
