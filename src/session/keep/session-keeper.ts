/** What of one session outlives this service: its descriptors with systemd, and beside them a page that says how far it has come. */
import { fstatSync } from 'node:fs';
import type { ConfinedIdentity } from '../../engine/confined-identity.ts';
import type { OwnedFd } from '../../native/binding.ts';
import type { FdStore } from '../../systemd/fd-store.ts';
import { SessionFile, type SessionSnapshot } from './session-file.ts';
import type { StoredSession } from './stored-sessions.ts';

/** What the session itself has to say; the rest is known here. */
export type Stand = Omit<SessionSnapshot, 'callerInode' | 'becomes'>;

export class SessionKeeper {
  readonly #store: FdStore;
  readonly #session: number;
  readonly #onError: (error: unknown) => void;
  /** Undefined while nothing is kept. */
  #file: SessionFile | undefined;
  #callerInode = '';
  /** Engines whose descriptors the store has. */
  readonly #engines = new Set<number>();
  /** Undefined when systemd has whatever was given to it. */
  #waits: Promise<unknown> | undefined;
  /** Whom the engine of a hand-over becomes. */
  becomes: ConfinedIdentity | undefined;

  /** @param onError told of what cannot be kept; the session is served all the same. */
  constructor(store: FdStore, session: number, onError: (error: unknown) => void) {
    this.#store = store;
    this.#session = session;
    this.#onError = onError;
  }

  /** True while the next start could go on with it. */
  get keeps(): boolean {
    return this.#file !== undefined;
  }

  /** Settles when the store has what it was given so far, with which no engine may begin before; undefined where it has. */
  get waits(): Promise<unknown> | undefined {
    return this.#waits;
  }

  /** The request, as it came; undefined while nothing is kept. */
  get packet(): Buffer | undefined {
    return this.#file?.packet;
  }

  /** From here on. Where one of its requests is kept already, this one takes its place in one step. @param connection copied. */
  start(connection: OwnedFd, packet: Uint8Array, stand: Stand): void {
    const isNew = this.#file === undefined;
    try {
      this.#file ??= SessionFile.make();
      this.#file.put(packet);
    } catch (error) {
      this.#onError(error);
      this.forget();
      return;
    }
    this.#callerInode = String(fstatSync(connection.number).ino);
    this.save(stand);
    if (!isNew || !this.#file) return;
    this.#await(this.#store.keep({ session: this.#session }, [connection, this.#file.fd]));
  }

  /** Takes over what an earlier start has kept. */
  takeOver({ file, snapshot, engine }: StoredSession): void {
    this.#file = file;
    this.#callerInode = snapshot.callerInode;
    this.becomes = snapshot.becomes;
    if (engine && snapshot.engine) this.#engines.add(snapshot.engine.serial);
  }

  /**
   * The engine that the request is about to have. The store has it before the page names it, and loses the one before only then, so
   * that whatever the page says is there; where the store has to be waited for ({@link waits}), before the page says that the engine is
   * being sent the request. @param fds copied.
   */
  engine(serial: number, fds: readonly OwnedFd[], stand: Stand): void {
    if (!this.#file) return;
    if (!this.#engines.has(serial)) {
      this.#await(this.#store.keep({ session: this.#session, engine: serial }, fds), false);
      this.#engines.add(serial);
    }
    this.save(stand);
    for (const other of this.#engines) if (other !== serial) this.#dropEngine(other);
  }

  save(stand: Stand): void {
    try {
      this.#file?.write({
        ...stand,
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
    this.#store.drop({ session: this.#session });
    for (const serial of this.#engines) this.#dropEngine(serial);
    this.#file.close();
    this.#file = undefined;
  }

  /** @param essential without it nothing is kept. */
  #await(kept: boolean | Promise<boolean>, essential = true): void {
    if (typeof kept === 'boolean') {
      if (essential && !kept) this.forget();
      return;
    }
    const file = this.#file;
    const waits: Promise<unknown> = Promise.all([this.#waits, kept]).then(([, isKept]) => {
      if (essential && !isKept && this.#file === file) this.forget();
      if (this.#waits === waits) this.#waits = undefined;
    });
    this.#waits = waits;
  }

  #dropEngine(serial: number): void {
    this.#store.drop({ session: this.#session, engine: serial });
    this.#engines.delete(serial);
  }
}
