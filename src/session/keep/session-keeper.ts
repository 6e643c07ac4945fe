/** Keeps one session in systemd's store, so that it outlives this service: its descriptors, and a file with its state. */
import { fstatSync } from 'node:fs';
import type { ConfinedIdentity } from '../../engine/confined-identity.ts';
import type { OwnedFd } from '../../native/binding.ts';
import type { FdStore } from '../../systemd/fd-store.ts';
import type { CallerPacket } from '../caller/connection.ts';
import type { SessionFile, SessionSnapshot } from './session-file.ts';
import type { StoredSession } from './stored-sessions.ts';

/** The part of a snapshot that the session provides; the keeper adds the rest. */
export type Stand = Omit<SessionSnapshot, 'callerInode' | 'becomes'>;

export class SessionKeeper {
  readonly #store: FdStore;
  readonly #session: number;
  readonly #makeFile: () => SessionFile;
  readonly #onError: (error: unknown) => void;
  /** Undefined while the session is not kept. */
  #file: SessionFile | undefined;
  #callerInode = '';
  /** The engines of which the store has descriptors. */
  readonly #engines = new Set<number>();
  /** Undefined when systemd has received everything. */
  #waits: Promise<unknown> | undefined;
  /** The identity of a hand-over's engine. */
  becomes: ConfinedIdentity | undefined;

  /** @param onError called if the session cannot be kept; it is served nevertheless. */
  constructor(
    store: FdStore,
    session: number,
    makeFile: () => SessionFile,
    onError: (error: unknown) => void,
  ) {
    this.#store = store;
    this.#session = session;
    this.#makeFile = makeFile;
    this.#onError = onError;
  }

  /** True while the next start could go on with the session. */
  get keeps(): boolean {
    return this.#file !== undefined;
  }

  /** Settles when the store has everything so far: no engine may get its request before that. Undefined if it has already. */
  get waits(): Promise<unknown> | undefined {
    return this.#waits;
  }

  /** The request, as it was received; undefined while the session is not kept. */
  get packet(): CallerPacket | undefined {
    return this.#file?.packet;
  }

  /** Keeps the session from here on. A new request replaces a kept one atomically. @param connection copied. */
  start(connection: OwnedFd, packet: CallerPacket, stand: Stand): void {
    const isNew = this.#file === undefined;
    try {
      this.#file ??= this.#makeFile();
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

  /** Takes over a session that an earlier start has kept. */
  takeOver({ file, snapshot, engine }: StoredSession): void {
    this.#file = file;
    this.#callerInode = snapshot.callerInode;
    this.becomes = snapshot.becomes;
    if (engine && snapshot.engine) this.#engines.add(snapshot.engine.serial);
  }

  /**
   * Keeps the engine that is about to get the request. Order: the store gets the new engine, then the page names it, then the
   * store drops the previous engine; so the store always has the engine that the page names. If the store is asynchronous, {@link
   * waits} settles before the page says that the request is being sent. @param fds copied.
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

  /** @param essential if this cannot be kept, the session is not kept at all. */
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
