/** Sockets in words. Pure. */
import { first } from './bounded.ts';
import type { Message } from './message.ts';

export interface InternetSocket {
  readonly protocol: string;
  readonly state: string;
  readonly local: string;
  readonly remote: string;
  readonly port: number;
}

const protocols: Readonly<Record<number, string>> = {
  6: 'TCP',
  17: 'UDP',
  136: 'UDP-Lite',
  1: 'ICMP',
  58: 'ICMPv6',
};

/** As in the kernel's tcp_states.h; others than these three have no name here. */
const states: Readonly<Record<number, string>> = { 1: 'connected', 7: 'closed', 10: 'listening' };

const version6 = 10;

/** @internal */
export function internetSocket(entry: Message): InternetSocket {
  const family = entry.number('family')!;
  const number = entry.number('proto')!;
  const state = entry.number('state')!;
  const port = entry.number('src_port')!;
  const end = (which: 'src' | 'dst'): string =>
    `${address(family, first(entry.numbers(`${which}_addr`), 4))}:${entry.number(`${which}_port`)}`;
  return {
    protocol: protocols[number] ?? `protocol ${number}`,
    state: states[state] ?? `state ${state}`,
    local: end('src'),
    remote: end('dst'),
    port,
  };
}

/** Words of an address are in network order, read as numbers of this machine. */
function address(family: number, words: readonly number[]): string {
  const bytes = Buffer.alloc(4 * words.length);
  for (const [index, word] of words.entries()) bytes.writeUInt32LE(word >>> 0, 4 * index);
  return addressText(family === version6 ? bytes : bytes.subarray(0, 4));
}

/**
 * @param bytes of IPv6, or four of IPv4.
 * @internal
 */
export function addressText(bytes: Buffer): string {
  if (bytes.length <= 4) return [...bytes].join('.');
  const groups = Array.from({ length: bytes.length / 2 }, (_, index) =>
    bytes.readUInt16BE(2 * index).toString(16),
  );
  const longest = /(^|:)0(:0)+(:|$)/.exec(groups.join(':'))?.[0];
  const short = longest === undefined ? groups.join(':') : groups.join(':').replace(longest, '::');
  return `[${short}]`;
}

/** The room for a name in sockaddr_un, unix(7). The rest of a longer name is left out. */
const mostUnixBytes = 108;

/**
 * An abstract name begins with a zero byte, which is shown as @.
 * @internal
 */
export function unixName(name: Uint8Array): string {
  const text = Buffer.from(name.subarray(0, mostUnixBytes)).toString('utf8').replaceAll('\0', '@');
  return name[0] === 0 ? text : text.replace(/@$/, '');
}
