import assert from 'node:assert/strict';
import { fstatSync } from 'node:fs';
import { constants as os } from 'node:os';
import { EngineQueue } from '../../../src/daemon/limits.ts';
import { Records } from '../../../src/daemon/records.ts';
import { Session } from '../../../src/daemon/session.ts';
import { SessionFile } from '../../../src/daemon/session-file.ts';
import { EnginePool } from '../../../src/engine/engine-pool.ts';
import { KeptAnswers } from '../../../src/engine/kept-answers.ts';
import { Kerndat } from '../../../src/engine/kerndat.ts';
import { readOwnState } from '../../../src/policy/caller.ts';
import { CallerReader } from '../../../src/policy/caller-reader.ts';
import { userOf } from '../../../src/policy/connection-user.ts';
import { TreeReader } from '../../../src/policy/tree-reader.ts';
import { decodeResponse } from '../../../src/protocol/codec.ts';
import { type ExitStatus, native, type OwnedFd, Watch } from '../../../src/socket/binding.ts';

const quiet = { error() {}, warning() {}, info() {}, debug() {}, close: async () => {} };
const engine = { criu: '/nonexistent', ahead: 0 };
const limits = { sessions: 8, sessionsPerUser: 8, engines: 8, enginesPerUser: 8 };
/** A session whose service was killed between the start of an engine on its connection and the keeping of that engine. */
class Resumed {
  readonly #pair = native.socketpair();
  readonly #caller = native.adopt(this.#pair.theirs);
  readonly #over: Promise<void>;
  readonly reply: Promise<Buffer>;
  /** With what the store is to keep from then on. */
  readonly kept: Promise<readonly OwnedFd[]>;
  readonly exit: Promise<ExitStatus>;
  readonly signal: (signal: number) => void;

  /** @param queued what nobody has read yet. */
  constructor(requestMs: number, queued?: string) {
    const connection = this.#pair.ours.copy();
    const engineProcess = native.spawn({
      // It holds the connection, whether it has read its request or was stopped before.
      file: '/bin/sleep',
      argv: ['sleep', '5'],
      env: [],
      fds: [{ source: connection, target: 3 }],
    });
    this.signal = (signal) => engineProcess.signal(signal);
    this.exit = new Promise((resolve) => engineProcess.onExit(resolve));
    if (queued !== undefined) this.#caller.send(Buffer.from(queued));
    this.reply = new Promise((resolve) => {
      this.#caller.watch(Watch.readable, () => {
        const packet = this.#caller.receive(4096);
        this.#caller.watch(0);
        resolve(packet!.data);
      });
    });
    let kept: (fds: readonly OwnedFd[]) => void;
    this.kept = new Promise((resolve) => {
      kept = resolve;
    });
    const own = readOwnState();
    const context = {
      own,
      reader: new CallerReader(own, 1000),
      trees: new TreeReader(),
      standing: { confinedCallers: true, allowNoNewPrivs: false },
      restorers: { who: 'all' as const },
      engine,
      pool: new EnginePool(engine),
      confined: { launcher: '/nonexistent', configFile: '/nonexistent', deadlineMs: 1000 },
      queue: new EngineQueue(limits),
      kerndat: new Kerndat(engine.criu, () => {}),
      records: new Records(quiet, () => {}),
      store: {
        keeps: true,
        keep(_session: string, fds: readonly OwnedFd[]) {
          kept(fds);
          return true;
        },
        drop() {},
      },
      timeouts: { requestMs, notifyMs: 1000, operationMs: undefined },
      maxPacketBytes: 4096,
      answers: new KeptAnswers(engine),
    };
    const request = {
      type: 1,
      name: 'DUMP',
      answeredAs: 1,
      keepOpen: false,
      engine: 'privileged' as const,
      notifies: false,
    };
    const snapshot = {
      state: { at: 'handed-over' as const, request },
      progress: 'unread' as const,
      callerInode: String(fstatSync(connection.number).ino),
      startedAtMs: Date.now(),
    };
    const file = SessionFile.make(Buffer.from('the request'));
    file.write(snapshot);
    const stored = { id: 1, file, snapshot, caller: connection, engine: undefined };
    const { ours } = this.#pair;
    this.#over = new Promise((resolve) => {
      new Session(1, ours, userOf(ours), context, () => resolve(), stored);
    });
    connection.close();
  }

  async end(): Promise<void> {
    await this.exit;
    await this.#over;
    this.#caller.close();
  }
}

function errnoOf(reply: Buffer): number | null | undefined {
  const decoded = decodeResponse(reply, 'strict');
  return decoded.kind === 'response' ? decoded.message.cr_errno : undefined;
}

describe('a connection that was being handed over when its service was killed', () => {
  it('is the affair of the engine that has its request, for which nobody waits a second time', async () => {
    const resumed = new Resumed(1);
    const first = await Promise.race([resumed.kept, resumed.reply]);
    assert.ok(Array.isArray(first), 'no reply, but an engine that is kept');
    resumed.signal(os.signals.SIGKILL);
    assert.equal(errnoOf(await resumed.reply), os.errno.EIO);
    await resumed.end();
  });

  it('has no engine left that could read what nobody has judged, when its request is looked at anew', async () => {
    const resumed = new Resumed(10_000, 'this is no request');
    assert.equal(errnoOf(await resumed.reply), os.errno.EINVAL);
    // By a signal, or it is known only that it has: the session may have reaped it.
    assert.notEqual((await resumed.exit).kind, 'exited');
    await resumed.end();
  });
});
