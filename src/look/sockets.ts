/** Reads the sockets of a network namespace, the kind of each, and its other end; tells if a pipe has another end. */
import { readFileSync, readlinkSync } from 'node:fs';
import { type NativeError, native, type OwnedFd } from '../native/binding.ts';
import type { Descriptor } from './descriptors.ts';

export interface UnixSocket {
  readonly type: 'stream' | 'datagram' | 'seqpacket';
  /** The inode of its peer; 0 without a peer. */
  readonly peer: number;
  readonly name: string;
  /** The lower 32 bits of the inode of its file; 0 without a file. */
  readonly file: number;
  /** A restore binds it to its name: CRIU leaves connected streams and sequences of packets unbound. */
  readonly isBound: boolean;
}

export interface InternetSocket {
  readonly protocol: string;
  readonly state: 'none' | 'listening' | 'connected' | 'connecting';
  readonly local: string;
  readonly remote: string;
  /** The number of connections that a listening socket has not accepted yet. */
  readonly waiting?: number;
}

/** SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET. */
const types: Readonly<Record<string, UnixSocket['type']>> = { 1: 'stream', 2: 'datagram', 5: 'seqpacket' };

/** Undefined if the kernel does not tell. */
export function readUnixSockets(): ReadonlyMap<number, UnixSocket> | undefined {
  try {
    return parseUnixSockets(native.unixSockets());
  } catch {
    return undefined;
  }
}

/** @param text as the addon gives it. */
export function parseUnixSockets(text: string): ReadonlyMap<number, UnixSocket> {
  const sockets = new Map<number, UnixSocket>();
  for (const line of text.split('\n')) {
    const [, inode, code, state, peer, file, name] = /^(\d+) (\d+) (\d+) (\d+) (\d+) (.*)$/.exec(line) ?? [];
    if (inode === undefined) continue;
    const type = types[code!] ?? 'stream';
    const isBound = Number(file) !== 0 && !(type !== 'datagram' && state === established);
    sockets.set(Number(inode), { type, peer: Number(peer), name: name!, file: Number(file), isBound });
  }
  return sockets;
}

const tables = {
  tcp: 'TCP',
  tcp6: 'TCP',
  udp: 'UDP',
  udp6: 'UDP',
  udplite: 'UDPLITE',
  udplite6: 'UDPLITE',
  raw: 'RAW',
  raw6: 'RAW',
} as const;

/** The network namespace of a process. */
export function readInternetSockets(pid: number): ReadonlyMap<number, InternetSocket> {
  const all = new Map<number, InternetSocket>();
  for (const [table, protocol] of Object.entries(tables)) {
    try {
      const text = readFileSync(`/proc/${pid}/net/${table}`, 'latin1');
      for (const [inode, socket] of parseInternetSockets(text, protocol)) all.set(inode, socket);
    } catch {
      // The kernel has no such protocol.
    }
  }
  return all;
}

/** States of TCP, from the kernel's net/tcp_states.h; Unix sockets have the same. */
const established = '1';
const listening = 10;
const closed = 7;
const connecting: ReadonlySet<number> = new Set([2, 3]);

/** The table of proc_pid_net(5). */
export function parseInternetSockets(text: string, protocol: string): ReadonlyMap<number, InternetSocket> {
  const sockets = new Map<number, InternetSocket>();
  for (const line of text.split('\n').slice(1)) {
    const [, local, remote, number, queues, , , , , inode] = line.trim().split(/\s+/);
    if (inode === undefined) continue;
    const state = protocol === 'TCP' ? stateOf(Number.parseInt(number!, 16)) : 'none';
    // The receive queue of a listening socket is the queue of its accept(2).
    const waiting = state === 'listening' ? Number.parseInt(queues!.split(':')[1] ?? '0', 16) : 0;
    sockets.set(Number(inode), {
      protocol,
      state,
      local: addressOf(local!),
      remote: /^0+:0+$/.test(remote!) ? '' : addressOf(remote!),
      ...(waiting > 0 ? { waiting } : {}),
    });
  }
  return sockets;
}

function stateOf(state: number): InternetSocket['state'] {
  if (state === listening) return 'listening';
  if (state === closed) return 'none';
  return connecting.has(state) ? 'connecting' : 'connected';
}

/** An address in the table is a list of 32-bit words in the order of the machine's bytes. */
function addressOf(text: string): string {
  const [address, port] = text.split(':') as [string, string];
  const words = address.match(/.{8}/g) ?? [];
  const bytes = words.flatMap((word) => [...Buffer.from(word, 'hex')].reverse());
  const number = Number.parseInt(port, 16);
  if (bytes.length === 4) return `${bytes.join('.')}:${number}`;
  const groups = Array.from({ length: 8 }, (_, at) =>
    ((bytes[2 * at]! << 8) | bytes[2 * at + 1]!).toString(16),
  );
  return `[${groups.join(':').replace(/(^|:)0(:0)+(:|$)/, '::')}]:${number}`;
}

/**
 * The path of the file to which a Unix socket is bound, wherever it was renamed to; with the kernel's mark if it was removed. Undefined
 * if this process may not know.
 */
export function boundPath({ pid, fd, link }: Pick<Descriptor, 'pid' | 'fd' | 'link'>): string | undefined {
  const opened: OwnedFd[] = [];
  const keep = (each: OwnedFd): OwnedFd => {
    opened.push(each);
    return each;
  };
  try {
    const socket = keep(native.pidfdGetfd(keep(native.pidfdOpen(pid)), fd));
    // Another file may have the number by now, whose owner could keep whoever asks it anything.
    if (readlinkSync(`/proc/self/fd/${socket.number}`) !== link) return undefined;
    return readlinkSync(`/proc/self/fd/${keep(native.socketFile(socket)).number}`);
  } catch {
    return undefined;
  } finally {
    for (const each of opened) each.close();
  }
}

/** Undefined if it cannot be told. */
export function isWhole({ pid, fd }: Pick<Descriptor, 'pid' | 'fd'>, writes: boolean): boolean | undefined {
  try {
    return native.pipeIsWhole(`/proc/${pid}/fd/${fd}`, writes);
  } catch (error) {
    // It was closed meanwhile.
    return (error as NativeError).code === 'ENOENT' ? false : undefined;
  }
}

/** A socket of neither kind, by its path in /proc. */
export function protocolOf(path: string): string | undefined {
  try {
    return native.protocolOf(path);
  } catch {
    return undefined;
  }
}
