/** The content of systemd's store at each moment at which the service could be killed. */
import assert from 'node:assert/strict';
import { native, type OwnedFd, type SeqpacketSocket } from '../../../src/native/binding.ts';
import { ReqType } from '../../../src/protocol/messages.ts';
import type { CallerPacket } from '../../../src/session/caller/connection.ts';
import { type EngineSnapshot, SessionFile } from '../../../src/session/keep/session-file.ts';
import { SessionKeeper, type Stand } from '../../../src/session/keep/session-keeper.ts';
import { authorized } from './support/authorized.ts';
import { Store } from './support/store.ts';

const request = authorized(ReqType.DUMP, true);

function stand(engine?: EngineSnapshot): Stand {
  const state = { at: 'working', request } as const;
  return { state, startedAtMs: 7, ...(engine ? { engine } : {}) };
}

function packet(text: string): CallerPacket {
  return { data: Buffer.from(text), passedOn: false };
}

describe('the session keeper', () => {
  let pair: { readonly ours: SeqpacketSocket; readonly theirs: OwnedFd };
  let connection: OwnedFd;
  let store: Store;
  let keeper: SessionKeeper;
  const opened: OwnedFd[] = [];

  beforeEach(() => {
    pair = native.socketpair();
    connection = pair.ours.copy();
    store = new Store();
    keeper = new SessionKeeper(store, 1, SessionFile.make, (error) => {
      throw error;
    });
  });

  afterEach(() => {
    keeper.forget();
    for (const fd of [...opened.splice(0), connection, pair.theirs]) fd.close();
    pair.ours.close();
  });

  const engine = (serial: number): [EngineSnapshot, OwnedFd[]] => {
    const fds = [native.memfd('criu-stderr', 10)];
    opened.push(...fds);
    return [{ serial, pid: 100 + serial, connection: 3, stays: false }, fds];
  };

  it('has a request at every moment from one request of a connection to the next', () => {
    const [first, firstFds] = engine(1);
    keeper.start(connection, packet('first'), stand());
    keeper.engine(1, firstFds, stand(first));
    keeper.save(stand(first));
    store.found.splice(0);
    keeper.start(connection, packet('second'), stand());
    const [second, secondFds] = engine(2);
    keeper.engine(2, secondFds, stand(second));
    keeper.save(stand(second));
    store.look();
    assert.ok(!store.found.includes(undefined), 'there is always one');
    assert.ok(
      store.found.every((found) => found?.packet === 'second' && found.at === 'working'),
      'which is the second one as soon as it began',
    );
    assert.equal(store.found.at(-1)!.engine, 102);
  });

  it('keeps the engine if it gets the next request, too', () => {
    const [first, fds] = engine(1);
    keeper.start(connection, packet('first'), stand());
    keeper.engine(1, fds, stand(first));
    store.found.splice(0);
    keeper.start(connection, packet('second'), stand(first));
    keeper.engine(1, fds, stand(first));
    store.look();
    assert.deepEqual(
      store.found.map((found) => [found?.packet, found?.engine]),
      [['second', 101]],
    );
  });

  it('keeps at most one engine per session, and nothing after it', () => {
    for (let serial = 1; serial <= 5; serial += 1) {
      const [snapshot, fds] = engine(serial);
      keeper.start(connection, packet(`request ${serial}`), stand());
      keeper.engine(serial, fds, stand(snapshot));
    }
    assert.equal(store.size, 3);
    keeper.forget();
    assert.equal(store.size, 0);
  });
});
