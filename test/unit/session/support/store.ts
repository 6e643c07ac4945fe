/** A model of systemd's store (service_add_fd_store in its service.c): a file is stored once, under its first name. */
import { fstatSync, readlinkSync } from 'node:fs';
import { native, type OwnedFd } from '../../../../src/native/binding.ts';
import { SessionFile, sessionFileName } from '../../../../src/session/keep/session-file.ts';
import type { PacketPlace } from '../../../../src/session/machine/states.ts';
import type { FdStore, StoreName } from '../../../../src/systemd/fd-store.ts';

/** The session as the next start would find it at some moment. */
export interface Found {
  readonly packet: string;
  readonly at: string;
  /** The place of the packet in that state. */
  readonly place: PacketPlace | undefined;
  /** The pid of the engine whose descriptors are in the store; undefined without an engine. */
  readonly engine: number | undefined;
}

interface Kept {
  readonly name: StoreName;
  readonly fd: OwnedFd;
  readonly file: string;
}

export class Store implements FdStore {
  readonly keeps = true;
  /** Before and after each change; undefined without a session. */
  readonly found: (Found | undefined)[] = [];
  #kept: Kept[] = [];

  get size(): number {
    return this.#kept.length;
  }

  keep(name: StoreName, fds: readonly OwnedFd[]): boolean {
    this.look();
    for (const fd of fds) {
      const file = fileOf(fd);
      if (this.#kept.some((other) => other.file === file)) continue;
      this.#kept.push({ name, fd: native.duplicate(fd), file });
    }
    this.look();
    return true;
  }

  drop({ session, engine }: StoreName): void {
    this.look();
    this.#kept = this.#kept.filter(({ name, fd }) => {
      const stays = name.session !== session || name.engine !== engine;
      if (!stays) fd.close();
      return stays;
    });
    this.look();
  }

  async told(): Promise<void> {}

  /** Reads the store as sortStored would, but without closing the remaining descriptors. */
  look(): void {
    const own = this.#kept.filter(({ name }) => name.engine === undefined);
    const state = own.find(({ fd }) =>
      readlinkSync(`/proc/self/fd/${fd.number}`).startsWith(`/memfd:${sessionFileName}`),
    );
    const file = state && SessionFile.again(state.fd);
    const snapshot = file?.read();
    if (!snapshot || own.length !== 2) {
      this.found.push(undefined);
      return;
    }
    const { engine } = snapshot;
    const isThere = engine && this.#kept.some(({ name }) => name.engine === engine.serial);
    this.found.push({
      packet: file!.packet.data.toString(),
      at: snapshot.state.at,
      place: 'packet' in snapshot.state ? snapshot.state.packet : undefined,
      engine: isThere ? engine.pid : undefined,
    });
  }
}

/** The identity of a file, as kcmp(2) would compare it. (Pidfds have inodes of their own since Linux 6.9.) */
function fileOf({ number }: OwnedFd): string {
  const { dev, ino } = fstatSync(number, { bigint: true });
  return `${dev}:${ino}`;
}
