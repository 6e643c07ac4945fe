/**
 * The packets between a holder of a terminal and criuctl. Pure.
 *
 * A packet is a word, a space and a number, a newline, and bytes:
 * - `hold PID`: the first packet of the first connection, with the master, and perhaps a file for the output; the bytes were
 *   written last;
 * - `held PID`: its answer;
 * - `lend PID`: the first packet on each later connection, with the master; the bytes were written last;
 * - `busy PID`: instead of it, if this process has the terminal;
 * - `back PID`: the terminal comes back; the bytes were written last.
 */

const kinds = ['hold', 'held', 'lend', 'busy', 'back'] as const;

export interface HolderMessage {
  readonly kind: (typeof kinds)[number];
  readonly pid: number;
  readonly bytes: Uint8Array;
}

/** Enough for the bytes of a tail and the line before them. */
export const mostPacketBytes = 128 * 1024;

export function encodeHolderMessage({ kind, pid, bytes }: HolderMessage): Buffer {
  return Buffer.concat([Buffer.from(`${kind} ${pid}\n`), bytes]);
}

/** @returns undefined for anything else. */
export function decodeHolderMessage(packet: Buffer): HolderMessage | undefined {
  const end = packet.indexOf('\n');
  const [, word, number] = /^([a-z]+) (\d{1,10})$/.exec(packet.toString('latin1', 0, Math.max(end, 0))) ?? [];
  const kind = kinds.find((each) => each === word);
  return kind && { kind, pid: Number(number), bytes: packet.subarray(end + 1) };
}
