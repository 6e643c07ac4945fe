/** What of one session outlives this service: its descriptors with systemd, and beside them a page that says how far it has come. */
import { fstatSync } from 'node:fs';
import type { OwnedFd } from '../socket/binding.ts';
import type { FdStore } from '../systemd/fd-store.ts';
import { type ConfinedIdentity, type Progress, SessionFile, type SessionSnapshot } from './session-file.ts';
import type { StoredSession } from './stored-sessions.ts';

/** What the session itself has to say; the rest is known here. */
export type Stand = Omit<SessionSnapshot, 'progress' | 'callerInode' | 'becomes'>;

export class SessionKeeper {
  readonly #store: FdStore;
  readonly #name: string;
  readonly #onError: (error: unknown) => void;
  /** Undefined while nothing is kept. */
  #file: SessionFile | undefined;
  #callerInode = '';
  progress: Progress = 'unread';
  /** Whom the engine of a hand-over becomes. */
  becomes: ConfinedIdentity | undefined;

  /** @param onError told of what cannot be kept; the session is served all the same. */
  constructor(store: FdStore, session: number, onError: (error: unknown) => void) {
    this.#store = store;
    this.#name = String(session);
    this.#onError = onError;
  }

  /** True while the next start could go on with it. */
  get keeps(): boolean {
    return this.#file !== undefined;
  }

  /** The request, as it came; undefined while nothing is kept. */
  get packet(): Buffer | undefined {
    return this.#file?.packet;
  }

  /** From here on. What was kept before is forgotten. @param connection copied. */
  start(connection: OwnedFd, packet: Uint8Array, stand: Stand): void {
    this.forget();
    this.#callerInode = String(fstatSync(connection.number).ino);
    try {
      this.#file = SessionFile.make(packet);
    } catch (error) {
      this.#onError(error);
      return;
    }
    this.save(stand);
    if (this.#file && !this.#store.keep(this.#name, [connection, this.#file.fd])) this.forget();
  }

  /** Takes over what an earlier start has kept. */
  takeOver({ file, snapshot }: StoredSession): void {
    this.#file = file;
    this.#callerInode = snapshot.callerInode;
    this.progress = snapshot.progress;
    this.becomes = snapshot.becomes;
  }

  /** More descriptors of the same session; copied. */
  add(fds: readonly OwnedFd[]): void {
    if (this.#file) this.#store.keep(this.#name, fds);
  }

  save(stand: Stand): void {
    try {
      this.#file?.write({
        ...stand,
        progress: this.progress,
        callerInode: this.#callerInode,
        ...(this.becomes ? { becomes: this.becomes } : {}),
      });
    } catch (error) {
      this.#onError(error);
      this.forget();
    }
  }

  forget(): void {
    if (!this.#file) return;
    this.#store.drop(this.#name);
    this.#file.close();
    this.#file = undefined;
  }
}
