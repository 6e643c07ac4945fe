/** systemd's store, as service_add_fd_store in its service.c has it: a file is taken once, under the name that it came with first. */
import { fstatSync, readlinkSync } from 'node:fs';
import { native, type OwnedFd } from '../../../../src/native/binding.ts';
import { SessionFile, sessionFileName } from '../../../../src/session/keep/session-file.ts';
import type { PacketPlace } from '../../../../src/session/machine/states.ts';
import type { FdStore, StoreName } from '../../../../src/systemd/fd-store.ts';

/** What the next start would find of the session at some moment. */
export interface Found {
  readonly packet: string;
  readonly at: string;
  /** Where the packet of that state is. */
  readonly place: PacketPlace | undefined;
  /** The pid of the engine whose descriptors are there, too; undefined for none. */
  readonly engine: number | undefined;
}

interface Kept {
  readonly name: StoreName;
  readonly fd: OwnedFd;
  readonly file: string;
}

export class Store implements FdStore {
  readonly keeps = true;
  /** Before and after each change; undefined where there was no session. */
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

  /** What sortStored would make of it, which shuts down what is left over, and so is left to the next start. */
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
      packet: file!.packet.toString(),
      at: snapshot.state.at,
      place: 'packet' in snapshot.state ? snapshot.state.packet : undefined,
      engine: isThere ? engine.pid : undefined,
    });
  }
}

/** What each kcmp(2) would call the same. (Pidfds have inodes of their own since Linux 6.9.) */
function fileOf({ number }: OwnedFd): string {
  const { dev, ino } = fstatSync(number, { bigint: true });
  return `${dev}:${ino}`;
}
