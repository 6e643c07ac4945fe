/** Classifies the descriptors of a tree, and finds where they lead. Pure: all facts come in. */
import { accessOf, type Descriptor } from './descriptors.ts';
import { type Holders, keyOfTerminal } from './holders.ts';
import type { MayOpen } from './mappings.ts';
import type { InternetSocket, UnixSocket } from './sockets.ts';
import type { End, Found, Holder, SocketFile, Thing } from './things.ts';

export interface Surrounding {
  readonly pids: ReadonlySet<number>;
  readonly unix: ReadonlyMap<number, UnixSocket> | undefined;
  readonly internet: ReadonlyMap<number, InternetSocket>;
  readonly holders: Holders;
  /** A process of the tree is stopped. */
  readonly stopped: boolean;
  /** Mounts that a process sees; undefined if they cannot be read. */
  readonly mountsOf: (pid: number) => ReadonlySet<string> | undefined;
  /** The number of a process's controlling terminal. */
  readonly terminalOf: (pid: number) => number | undefined;
  readonly protocolOf: (descriptor: Descriptor) => string | undefined;
  readonly writable: (path: string) => boolean;
  readonly openable: MayOpen;
  /** False if no process has the other end of a pipe; undefined if that cannot be told. */
  readonly isWhole: (descriptor: Descriptor, writes: boolean) => boolean | undefined;
  readonly socketFile: (
    descriptor: Pick<Descriptor, 'pid' | 'fd' | 'link'>,
    socket: UnixSocket,
  ) => SocketFile;
}

const deleted = / \(deleted\)$/;
const pseudoTerminal = /^\/dev\/pts\/(\d+)(?: \(deleted\))?$/;
const console_ = /^\/dev\/(console|tty[\dA-Z].*)$/;
const ofKernel = /^\/memfd:/;

/** Links whose holders outside of the tree matter. */
export function wantedLinks(
  descriptors: readonly Descriptor[],
  unix: ReadonlyMap<number, UnixSocket> | undefined,
  terminalOf: (pid: number) => number | undefined,
): ReadonlySet<string> {
  const wanted = new Set<string>();
  const ends = new PipeEnds(descriptors);
  for (const descriptor of descriptors) {
    const { link } = descriptor;
    const terminal = terminalIn(descriptor, terminalOf);
    const peer = unix?.get(inodeIn(link, 'socket') ?? -1)?.peer ?? 0;
    if (terminal !== undefined) wanted.add(keyOfTerminal(terminal));
    else if (link.startsWith('pipe:') && !ends.hasBoth(link)) wanted.add(link);
    else if (peer !== 0) wanted.add(`socket:[${peer}]`);
    else if (isSharedLog(descriptor)) wanted.add(link);
  }
  return wanted;
}

export function classify(descriptors: readonly Descriptor[], around: Surrounding): Found[] {
  const tree = new Tree(descriptors, around);
  const byThing = new Map<string, { pid: number; fds: number[]; thing: Thing }>();
  for (const descriptor of descriptors) {
    for (const thing of tree.thingsOf(descriptor)) {
      const key = `${descriptor.pid} ${JSON.stringify(thing)}`;
      const known = byThing.get(key);
      if (known) known.fds.push(descriptor.fd);
      else byThing.set(key, { pid: descriptor.pid, fds: [descriptor.fd], thing });
    }
  }
  return [...byThing.values()];
}

/** The ends of pipes that the tree has. */
class PipeEnds {
  readonly #ends = new Map<string, Set<'read' | 'write'>>();

  constructor(descriptors: readonly Descriptor[]) {
    for (const descriptor of descriptors) {
      if (!descriptor.link.startsWith('pipe:')) continue;
      const { reads, writes } = accessOf(descriptor);
      const ends = this.#ends.get(descriptor.link) ?? new Set();
      if (reads) ends.add('read');
      if (writes) ends.add('write');
      this.#ends.set(descriptor.link, ends);
    }
  }

  hasBoth(link: string): boolean {
    return this.#ends.get(link)?.size === 2;
  }
}

/** The same for both ways to write an address of IPv4. */
function connectionOf(from: string, to: string): string {
  const mapped = /\[::ffff:([0-9a-f]+):([0-9a-f]+)\]/g;
  return `${from} ${to}`.replace(mapped, (_, high: string, low: string) =>
    [high, low].flatMap((half) => [...Buffer.from(half.padStart(4, '0'), 'hex')]).join('.'),
  );
}

class Tree {
  readonly #around: Surrounding;
  readonly #pipes: PipeEnds;
  readonly #sockets: ReadonlySet<number>;
  readonly #connections: ReadonlySet<string>;
  readonly #masters: ReadonlySet<number>;
  readonly #outside: number;

  constructor(descriptors: readonly Descriptor[], around: Surrounding) {
    this.#around = around;
    this.#pipes = new PipeEnds(descriptors);
    this.#sockets = new Set(descriptors.flatMap(({ link }) => inodeIn(link, 'socket') ?? []));
    this.#connections = new Set(
      [...this.#sockets].flatMap((inode) => {
        const socket = around.internet.get(inode);
        return socket?.state === 'connected' ? [connectionOf(socket.local, socket.remote)] : [];
      }),
    );
    this.#masters = new Set(
      descriptors.flatMap(({ info }) => (info.has('tty-index') ? [Number(info.get('tty-index'))] : [])),
    );
    const terminals = descriptors.flatMap((each) => terminalIn(each, around.terminalOf) ?? []);
    this.#outside = new Set(terminals.filter((number) => !this.#hasMaster(number))).size;
  }

  thingsOf(descriptor: Descriptor): Thing[] {
    const { link } = descriptor;
    const socket = inodeIn(link, 'socket');
    if (socket !== undefined) return [this.#socket(descriptor, socket)];
    const pipe = inodeIn(link, 'pipe');
    if (pipe !== undefined) return [this.#pipe(descriptor, pipe)];
    if (!link.startsWith('/')) return [this.#anonymous(descriptor)];
    return [this.#path(descriptor), ...locksOf(descriptor)];
  }

  #pipe(descriptor: Descriptor, inode: number): Thing {
    const { link } = descriptor;
    const use = accessOf(descriptor).writes ? 'write' : 'read';
    const other = use === 'write' ? 'read' : 'write';
    const holders = this.#around.holders.of(link, other);
    const isInside = this.#pipes.hasBoth(link) || this.#around.holders.isInside(link, other);
    const end = isInside ? 'inside' : this.#endOf(descriptor, use === 'write', holders);
    return { kind: 'pipe', use, inode, end, holders };
  }

  #endOf(descriptor: Descriptor, writes: boolean, holders: readonly Holder[]): End {
    if (holders.length > 0) return 'outside';
    const isUnseen = this.#around.holders.isPartial && this.#around.isWhole(descriptor, writes) !== false;
    return isUnseen ? 'unseen' : 'nobody';
  }

  #socket(descriptor: Descriptor, inode: number): Thing {
    const { unix, internet, holders, protocolOf } = this.#around;
    const local = unix?.get(inode);
    if (local) {
      const { type, peer } = local;
      const name = unix?.get(peer)?.name ?? '';
      const holding = peer === 0 ? [] : holders.of(`socket:[${peer}]`);
      const end =
        peer === 0
          ? 'nobody'
          : this.#sockets.has(peer) || holders.isInside(`socket:[${peer}]`)
            ? 'inside'
            : holding.length > 0
              ? 'outside'
              : 'unseen';
      const isBound = local.isBound && local.name.startsWith('/');
      const file = isBound
        ? { file: { name: local.name, state: this.#around.socketFile(descriptor, local) } }
        : {};
      return { kind: 'unix', type, end, peer: name, holders: holding, ...file };
    }
    const known = internet.get(inode);
    if (known) {
      const isInside = this.#connections.has(connectionOf(known.remote, known.local));
      return { kind: 'internet', ...known, ...(known.state === 'connected' && isInside ? { isInside } : {}) };
    }
    const protocol = protocolOf(descriptor);
    const [, plain] = /^(TCP|UDP|RAW)(?:v6)?$/.exec(protocol ?? '') ?? [];
    if (plain) return { kind: 'internet', protocol: plain, state: 'none', local: '', remote: '' };
    if (protocol?.startsWith('UNIX')) {
      return { kind: 'unix', type: 'stream', end: 'unknown', peer: '', holders: [] };
    }
    return { kind: 'socket', protocol };
  }

  #anonymous({ link, info }: Descriptor): Thing {
    const name = link.replace(/^anon_inode:/, '').replace(/^\[(.*)\]$/, '$1');
    if (name === 'inotify') {
      return { kind: 'watches', count: info.get('inotify')?.split('\n').length ?? 0 };
    }
    if (/^pidfd(:|$)/.test(name)) {
      const target = Number(info.get('Pid') ?? -1);
      return { kind: 'pidfd', target, inside: this.#around.pids.has(target) };
    }
    return { kind: 'anonymous', name };
  }

  #path(descriptor: Descriptor): Thing {
    const { pid, link, info, stat } = descriptor;
    const terminal = terminalIn(descriptor, this.#around.terminalOf);
    if (terminal !== undefined) return this.#terminal(descriptor, terminal);
    if (info.has('tty-index')) return { kind: 'file', path: link, writers: [] };
    if (console_.test(link)) return { kind: 'console', path: link };
    if (ofKernel.test(link)) return { kind: 'file', path: link.replace(deleted, ''), writers: [] };
    if (stat?.isCharacterDevice() || stat?.isBlockDevice()) {
      const [major, minor] = numbersOf(stat.rdev);
      return { kind: 'device', path: link, major, minor };
    }
    const mounts = this.#around.mountsOf(pid);
    const mount = info.get('mnt_id');
    if (mounts && mount !== undefined && !mounts.has(mount)) return { kind: 'no-mount', path: link };
    if (deleted.test(link) && stat && !isNamedSo(stat, link)) {
      const path = link.replace(deleted, '');
      const size = stat.isFile() ? stat.size : 0;
      const links = stat.isFile() ? stat.nlink : 0;
      return { kind: 'deleted', path, size, links, writable: this.#around.writable(path) };
    }
    const denied = this.#deniedUse(descriptor);
    if (denied) return { kind: 'not-openable', path: link, use: denied };
    if (stat?.isFIFO()) return { kind: 'fifo', path: link };
    const writers = isSharedLog(descriptor) ? this.#around.holders.of(link, 'write') : [];
    return { kind: 'file', path: link, writers };
  }

  #deniedUse(descriptor: Descriptor): 'read' | 'write' | undefined {
    const { reads, writes, isPathOnly } = accessOf(descriptor);
    const { openable } = this.#around;
    if (isPathOnly) return undefined;
    if (reads && !openable(descriptor.link, 'read')) return 'read';
    return writes && !openable(descriptor.link, 'write') ? 'write' : undefined;
  }

  #terminal({ link }: Descriptor, number: number): Thing {
    const holders = this.#around.holders.ofTerminal(number);
    const end = this.#hasMaster(number) ? 'inside' : deleted.test(link) ? 'nobody' : this.#masterOf(holders);
    const { stopped } = this.#around;
    return { kind: 'terminal', path: link, end, holders, outside: this.#outside, stopped };
  }

  #hasMaster(number: number): boolean {
    return this.#masters.has(number) || this.#around.holders.isInside(keyOfTerminal(number));
  }

  /** A terminal without a master hangs up at once, so that somebody has it. */
  #masterOf(holders: readonly Holder[]): End {
    return holders.length > 0 ? 'outside' : 'unseen';
  }
}

/** A file with this name that is not deleted. Its directory would have a link count of 0. */
function isNamedSo(stat: NonNullable<Descriptor['stat']>, link: string): boolean {
  return stat.nlink > 0 && stat.isFile() && link.endsWith(' (deleted) (deleted)');
}

function locksOf({ link, info }: Descriptor): Thing[] {
  const locks = info.get('lock')?.split('\n') ?? [];
  return locks.map((line): Thing => {
    const [, type = 'lock', , access = ''] = line.split(/\s+/);
    return { kind: 'lock', path: link, type: `${type} ${access}`.trim() };
  });
}

/** A file that the process writes where it is, not at its end: CRIU compares the size at a restore. */
function isSharedLog(descriptor: Descriptor): boolean {
  const { writes, appends } = accessOf(descriptor);
  return writes && !appends && descriptor.stat?.isFile() === true && !deleted.test(descriptor.link);
}

function terminalIn(
  { pid, link }: Descriptor,
  terminalOf: (pid: number) => number | undefined,
): number | undefined {
  const [, number] = pseudoTerminal.exec(link) ?? [];
  if (number !== undefined) return Number(number);
  return link === '/dev/tty' ? terminalOf(pid) : undefined;
}

function inodeIn(link: string, kind: 'pipe' | 'socket'): number | undefined {
  return link.startsWith(`${kind}:[`) ? Number(link.slice(kind.length + 2, -1)) : undefined;
}

/** gnu_dev_major(3) and gnu_dev_minor(3). */
function numbersOf(device: number): [major: number, minor: number] {
  return [(device >>> 8) & 0xfff, (device & 0xff) | ((device >>> 12) & 0xfff00)];
}
