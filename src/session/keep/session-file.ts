/**
 * The state of a session in a sealed memfd, which systemd's store keeps beside the session's descriptors. The next start of the
 * service goes on from it.
 *
 * The first page is written by one call after each step. A kill therefore leaves the state before or the state after, never a
 * mixture. Two slots for requests follow: a new request goes into the slot that the page does not name.
 */
import { readSync, writeSync } from 'node:fs';
import type { ConfinedIdentity } from '../../engine/confined-identity.ts';
import { native, type OwnedFd } from '../../native/binding.ts';
import { maxPacketBytes } from '../../native/limits.ts';
import type { CallerPacket } from '../caller/connection.ts';
import type { State } from '../machine/states.ts';

export interface SessionSnapshot {
  readonly state: State;
  /** Inodes identify the sockets in the store: the caller's connection, and our end of the engine's connection. */
  readonly callerInode: string;
  readonly engineInode?: string;
  readonly engine?: EngineSnapshot;
  /** The identity of a hand-over's engine, saved before the engine is started; absent for a privileged engine. */
  readonly becomes?: ConfinedIdentity;
  /** In milliseconds since the epoch. */
  readonly startedAtMs: number;
}

export interface EngineSnapshot {
  /** The number of the engine within its session, from 1; part of its name in the store. */
  readonly serial: number;
  readonly pid: number;
  /** The descriptor number of the connection in the engine's own table. */
  readonly connection: number;
  readonly cgroup?: { readonly path: string; readonly scope: boolean };
  /** The engine's cgroup after its restored tree was verified. */
  readonly apart?: string;
  readonly stays: boolean;
  /** Absent for a privileged engine. */
  readonly confined?: ConfinedIdentity;
}

const pageBytes = 4096;

/** The name of the memfd, as readlink shows it. */
export const sessionFileName = 'criu-session';

/** The place of a request in the file. */
interface Place {
  readonly at: number;
  readonly bytes: number;
  readonly passedOn?: boolean;
}

/** Pages take memory only after they are written. */
const fileBytes = pageBytes + 2 * maxPacketBytes;

/** The content of the first page. */
type Page = SessionSnapshot & { readonly packet: Place };

export class SessionFile {
  readonly fd: OwnedFd;
  #packet: Place = { at: pageBytes, bytes: 0 };

  private constructor(fd: OwnedFd) {
    this.fd = fd;
  }

  /** A new file, without a request. */
  static make(): SessionFile {
    return new SessionFile(native.memfd(sessionFileName, fileBytes));
  }

  /** The file of an earlier start. */
  static again(fd: OwnedFd): SessionFile {
    return new SessionFile(fd);
  }

  /** The request, as it was received. */
  get packet(): CallerPacket {
    const { at, bytes, passedOn = false } = this.#packet;
    const data = Buffer.alloc(bytes);
    readSync(this.fd.number, data, 0, bytes, at);
    return { data, passedOn };
  }

  /** Stores another request, valid from the next {@link write} on. @param packet at most {@link maxPacketBytes}. */
  put({ data, passedOn }: CallerPacket): void {
    const at = this.#packet.at === pageBytes ? pageBytes + maxPacketBytes : pageBytes;
    writeSync(this.fd.number, data, 0, data.length, at);
    this.#packet = { at, bytes: data.length, passedOn };
  }

  /** @throws Error if the state does not fit into the page; the previous state stays. */
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

  /** @returns undefined if no state was ever written. @throws SyntaxError or TypeError if the page is malformed. */
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
    this.#packet = packet;
    return snapshot;
  }

  close(): void {
    this.fd.close();
  }
}
