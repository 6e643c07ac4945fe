/**
 * What of a session is no descriptor, in a sealed memfd that is kept beside its descriptors: enough for the next start of this
 * service to go on with it.
 *
 * It begins with one page, written by one call each time the session has moved, so that a service that is killed leaves the state before
 * or the state after, and nothing between. Behind it is room for two requests: the next one is written beside the one that the page names.
 */
import { readSync, writeSync } from 'node:fs';
import type { ConfinedIdentity } from '../../engine/confined-identity.ts';
import { native, type OwnedFd } from '../../native/binding.ts';
import { maxPacketBytes } from '../../native/limits.ts';
import type { State } from '../machine/states.ts';

export interface SessionSnapshot {
  readonly state: State;
  /** Inodes of the sockets, by which they are told apart: the caller's connection, and our end of the engine's. */
  readonly callerInode: string;
  readonly engineInode?: string;
  readonly engine?: EngineSnapshot;
  /** Whom the engine of a hand-over becomes, said before there is one; absent for a privileged one. */
  readonly becomes?: ConfinedIdentity;
  /** Since the epoch, in milliseconds. */
  readonly startedAtMs: number;
}

export interface EngineSnapshot {
  /** Which engine of the session it is, counted from 1: what the store calls it. */
  readonly serial: number;
  readonly pid: number;
  /** The number of its connection in its own table. */
  readonly connection: number;
  readonly cgroup?: { readonly path: string; readonly scope: boolean };
  /** Where the engine is once the tree that it has restored was verified. */
  readonly apart?: string;
  readonly stays: boolean;
  /** Absent for a privileged one. */
  readonly confined?: ConfinedIdentity;
}

const pageBytes = 4096;

/** What readlink says of the memfd. */
export const sessionFileName = 'criu-session';

/** Where a request lies. */
interface Place {
  readonly at: number;
  readonly bytes: number;
}

/** No page of it takes memory before it is written. */
const fileBytes = pageBytes + 2 * maxPacketBytes;

/** What a page says. */
type Page = SessionSnapshot & { readonly packet: Place };

export class SessionFile {
  readonly fd: OwnedFd;
  #packet: Place = { at: pageBytes, bytes: 0 };

  private constructor(fd: OwnedFd) {
    this.fd = fd;
  }

  /** Without a request. */
  static make(): SessionFile {
    return new SessionFile(native.memfd(sessionFileName, fileBytes));
  }

  /** One of an earlier start of this service. */
  static again(fd: OwnedFd): SessionFile {
    return new SessionFile(fd);
  }

  /** The request as it came. */
  get packet(): Buffer {
    const { at, bytes } = this.#packet;
    const packet = Buffer.alloc(bytes);
    readSync(this.fd.number, packet, 0, bytes, at);
    return packet;
  }

  /** Another request, from the next {@link write} on. @param packet at most {@link maxPacketBytes}. */
  put(packet: Uint8Array): void {
    const at = this.#packet.at === pageBytes ? pageBytes + maxPacketBytes : pageBytes;
    writeSync(this.fd.number, packet, 0, packet.length, at);
    this.#packet = { at, bytes: packet.length };
  }

  /** @throws Error when it does not fit; the state before stays. */
  write(snapshot: SessionSnapshot): void {
    const said: Page = { ...snapshot, packet: this.#packet };
    const text = JSON.stringify(said, (_key, value) =>
      typeof value === 'bigint' ? { bigint: value.toString(16) } : value,
    );
    const page = Buffer.alloc(pageBytes);
    if (page.write(text) < Buffer.byteLength(text))
      throw new Error('The state of a session is too large to be kept');
    writeSync(this.fd.number, page, 0, pageBytes, 0);
  }

  /** @returns undefined when nothing was ever written. @throws SyntaxError or TypeError when it is not ours. */
  read(): SessionSnapshot | undefined {
    const page = Buffer.alloc(pageBytes);
    readSync(this.fd.number, page, 0, pageBytes, 0);
    const end = page.indexOf(0);
    if (end === 0) return undefined;
    const { packet, ...snapshot } = JSON.parse(
      page.toString('utf8', 0, end === -1 ? pageBytes : end),
      (_key, value) =>
        typeof value === 'object' && value !== null && typeof value.bigint === 'string'
          ? BigInt(`0x${value.bigint}`)
          : value,
    ) as Page;
    this.#packet = { at: packet.at, bytes: packet.bytes };
    return snapshot;
  }

  close(): void {
    this.fd.close();
  }
}
