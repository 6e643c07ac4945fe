/** A real session that resumes after the service was killed, with descriptors as from systemd's store. */
import { fstatSync } from 'node:fs';
import { EngineQueue } from '../../../../src/engine/engine-queue.ts';
import { StderrFile } from '../../../../src/engine/stderr-file.ts';
import { native, type OwnedFd, type SeqpacketSocket, Watch } from '../../../../src/native/binding.ts';
import { userOf } from '../../../../src/proc/connection-user.ts';
import { sleepsOn } from '../../../../src/proc/sleeping.ts';
import { decodeResponse } from '../../../../src/protocol/codec.ts';
import type { CriuResp } from '../../../../src/protocol/messages.ts';
import type { SessionContext } from '../../../../src/session/context.ts';
import { SessionFile, type SessionSnapshot } from '../../../../src/session/keep/session-file.ts';
import { Session } from '../../../../src/session/session.ts';
import type { StoreName } from '../../../../src/systemd/fd-store.ts';
import { limits, sessionContext } from './context.ts';

export interface Left {
  readonly state: SessionSnapshot['state'];
  readonly becomes?: SessionSnapshot['becomes'];
  readonly packet: Uint8Array;
  /** Packets in the caller's queue. */
  readonly queued?: readonly Uint8Array[];
  /** The script of the engine in the store. */
  readonly engine?: string;
  /** The descriptor number of that engine's connection. */
  readonly connection?: number;
  /** True if the engine sleeps in a read of its connection when the session resumes. */
  readonly sleeps?: boolean;
  /** The limit of engines. */
  readonly engines?: number;
  /** The script of engines that are started after the restart. */
  readonly criu?: string;
  readonly requestMs?: number;
  /** True if the caller reads only when told to. */
  readonly busy?: boolean;
  /** Makes the file of the session. */
  readonly makeFile?: () => SessionFile;
  /** Overrides of the context. */
  readonly context?: Partial<SessionContext>;
}

export class Resumed {
  readonly #caller: SeqpacketSocket;
  readonly #received: (CriuResp | 'closed')[] = [];
  #onReceived = () => {};
  #kept: (fds: readonly OwnedFd[]) => void = () => {};
  /** Resolves with the descriptors that the store is given first. */
  readonly kept: Promise<readonly OwnedFd[]> = new Promise((resolve) => {
    this.#kept = resolve;
  });
  /** For each engine that was at work already: true if it counts as root's. */
  readonly counted: boolean[] = [];
  /** The names that were dropped from the store. */
  readonly dropped: StoreName[] = [];
  /** Resolves when nothing of the session is left. */
  readonly over: Promise<void>;

  /**
   * @param hold starts a process that holds our end of the connection, before the session resumes.
   * @param accepted the connection of a caller in another process, which reads its replies itself.
   */
  constructor(left: Left, hold: (connection: OwnedFd) => void = () => {}, accepted?: SeqpacketSocket) {
    const pair = native.socketpair();
    this.#caller = native.adopt(pair.theirs);
    if (accepted) pair.ours.close();
    const ours = accepted ?? pair.ours;
    const connection = ours.copy();
    hold(connection);
    for (const packet of left.queued ?? []) this.#caller.send(packet);
    if (!left.busy) this.read();
    const engine = left.engine === undefined ? undefined : startEngine(left.engine, left.connection);
    while (left.sleeps && engine && !sleepsOn(engine.snapshot.pid, engine.snapshot.connection));
    const snapshot: SessionSnapshot = {
      state: left.state,
      callerInode: String(fstatSync(connection.number).ino),
      startedAtMs: Date.now(),
      ...(left.becomes ? { becomes: left.becomes } : {}),
      ...(engine ? { engine: engine.snapshot, engineInode: engine.inode } : {}),
    };
    const file = (left.makeFile ?? SessionFile.make)();
    file.put({ data: Buffer.from(left.packet), passedOn: false });
    file.write(snapshot);
    const stored = { id: 1, file, snapshot, caller: connection, engine: engine?.stored };
    const { counted } = this;
    class CountedQueue extends EngineQueue {
      override count(...[user, privileged]: Parameters<EngineQueue['count']>) {
        counted.push(privileged);
        return super.count(user, privileged);
      }
    }
    const context = sessionContext({ criu: left.criu ?? '/nonexistent', ahead: 0 }, left.requestMs, {
      queue: new CountedQueue({ ...limits, engines: left.engines ?? limits.engines }),
      store: {
        keeps: true,
        keep: (_session, fds) => {
          this.#kept(fds);
          return true;
        },
        drop: (name) => {
          this.dropped.push(name);
        },
        told: async () => {},
      },
      ...left.context,
    });
    this.over = new Promise((resolve) => {
      new Session(1, ours, userOf(ours), context, () => resolve(), stored);
    });
    connection.close();
  }

  read(): void {
    this.#caller.watch(Watch.readable, () => this.#receive());
  }

  /** The next reply, or `closed`. */
  async next(): Promise<CriuResp | 'closed'> {
    while (this.#received.length === 0) {
      await new Promise<void>((resolve) => {
        this.#onReceived = resolve;
      });
    }
    return this.#received.shift()!;
  }

  /** All replies until the connection is closed and the session is over. */
  async all(): Promise<CriuResp[]> {
    const replies: CriuResp[] = [];
    for (let got = await this.next(); got !== 'closed'; got = await this.next()) replies.push(got);
    await this.over;
    return replies;
  }

  #receive(): void {
    const packet = this.#caller.receive(4096);
    const decoded = packet && decodeResponse(packet.data, 'strict');
    if (!packet) {
      this.#caller.close();
      this.#received.push('closed');
    } else if (decoded?.kind === 'response') {
      // Plain objects, so that tests can compare them with what they expect.
      this.#received.push(JSON.parse(JSON.stringify(decoded.message)));
    }
    this.#onReceived();
  }
}

function startEngine(script: string, connection = 3) {
  const { ours, theirs } = native.socketpair();
  const { fd: stderr } = new StderrFile('criu-stderr');
  const started = native.spawn({
    file: script,
    argv: ['criu', 'swrk', `${connection}`],
    env: [],
    fds: [{ source: theirs, target: connection }],
  });
  theirs.close();
  const snapshot = { serial: 1, pid: started.pid, connection, stays: false };
  const inode = ours.inode().toString();
  const stored = { pidfd: native.duplicate(started.pidfd), stderr, socket: ours.release() };
  started.close();
  return { snapshot, inode, stored };
}
