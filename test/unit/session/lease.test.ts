/** The states of a lease: what becomes of a request whose engine has not read it, and of the turn and the loan. */
import assert from 'node:assert/strict';
import type { Engine, EngineExit } from '../../../src/engine/engine.ts';
import { ReqType } from '../../../src/protocol/messages.ts';
import { EngineLease, type LeaseOwner } from '../../../src/session/engines/lease.ts';
import { EngineLeases } from '../../../src/session/engines/leases.ts';
import { Loan } from '../../../src/session/engines/loan.ts';
import { NotStartedError } from '../../../src/session/engines/start.ts';
import { authorized } from './support/authorized.ts';
import { sessionContext } from './support/context.ts';

const order = { request: authorized(ReqType.DUMP), engine: { is: 'probe' } } as const;
const exit: EngineExit = { how: 'success', reason: 'it left' };

/** A loan without descriptors. */
class NoLoan extends Loan {
  closed = false;

  constructor() {
    super(undefined, { peerFds: [], openedBy: 'service', engineFds: [], lendLogDirectory: false });
  }

  override close(): void {
    this.closed = true;
  }
}

describe('an engine lease', () => {
  let told: string[];
  let released: number;
  let delivers: boolean;
  let leftUnread: boolean;
  let lease: EngineLease;
  let loan: NoLoan;

  const owner: LeaseOwner = {
    onMessage: () => told.push('message'),
    onHangup: () => told.push('hang-up'),
    onUnread: () => told.push('unread'),
    expectsTerminal: () => false,
    onLie: () => told.push('lie'),
    onEnd: () => told.push('end'),
    onGone: () => told.push('gone'),
  };
  const engine = (): Engine =>
    ({
      send: () => delivers,
      dismiss: () => told.push('dismissed'),
      resume() {},
      turnPage() {},
      get leftUnread() {
        return leftUnread;
      },
    }) as unknown as Engine;
  const message = (): void => lease.heard.onMessage({ data: Buffer.alloc(0), fds: [] }, engine());
  const hangUp = (): void => lease.heard.onHangup(engine());
  const end = (): void => lease.heard.onEnd(exit, engine());
  const offer = async (): Promise<void> => {
    lease.offer(Buffer.from('request'));
    await undefined;
  };

  beforeEach(() => {
    told = [];
    released = 0;
    delivers = true;
    leftUnread = false;
    loan = new NoLoan();
    const release = (): void => {
      released += 1;
    };
    lease = new EngineLease(1, owner, order, loan, { ready: undefined, cancel() {}, release });
  });

  const started = (ready: boolean): void => lease.started({ engine: engine() }, ready);

  it('reports the exit of an engine that was started for its request, and releases the turn', () => {
    started(false);
    hangUp();
    end();
    assert.deepEqual([told, released, lease.runs], [['hang-up', 'end', 'gone'], 1, false]);
  });

  it('keeps the turn of an engine that exits without a request, for another engine', async () => {
    started(true);
    hangUp();
    end();
    assert.deepEqual([told, released], [['gone'], 0]);
    delivers = false;
    await offer();
    assert.deepEqual(told, ['gone', 'unread']);
    const { turn, loan: handed } = lease.giveWay();
    assert.equal(handed, loan);
    assert.equal(released, 0);
    turn?.release();
    assert.equal(released, 1);
  });

  it('reports that exit, and releases the turn, if the request is called off', () => {
    started(true);
    end();
    lease.dismiss();
    assert.deepEqual([told, released], [['gone', 'dismissed', 'end'], 1]);
  });

  it('reports a request as unread if the engine hangs up before it reads', async () => {
    started(true);
    await offer();
    leftUnread = true;
    hangUp();
    end();
    assert.deepEqual([told, released], [['unread', 'gone'], 0]);
  });

  it('reports the exit of an engine that has read its request', async () => {
    started(true);
    await offer();
    hangUp();
    end();
    assert.deepEqual([told, released], [['hang-up', 'end', 'gone'], 1]);
  });

  it('reports the exit of an engine that has spoken', async () => {
    started(true);
    await offer();
    message();
    leftUnread = true;
    hangUp();
    end();
    assert.deepEqual(told, ['message', 'hang-up', 'end', 'gone']);
  });

  it('keeps the turn of a failed start until its launcher has gone', async () => {
    let go = () => {};
    lease.abandoned(
      new Promise((resolve) => {
        go = resolve;
      }),
    );
    lease.failed();
    await undefined;
    assert.deepEqual([released, lease.runs], [0, false]);
    go();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(released, 1);
  });

  it('ends the loan with the final record, or when it is set aside', () => {
    lease.endLoan(false);
    assert.ok(loan.closed);
    const other = new NoLoan();
    started(true);
    lease.again(order, other);
    lease.setAside();
    assert.ok(other.closed);
  });
});

describe('a session without an engine', () => {
  it('starts no replacement, and says so in a sentence', async () => {
    const told: string[] = [];
    const leases = new EngineLeases(sessionContext({ criu: '/nonexistent', ahead: 0 }), '0' as never, {
      onMessage() {},
      onHangup() {},
      expectsTerminal: () => false,
      onLie() {},
      onEnd() {},
      onUnread: () => told.push('unread'),
      onAllGone() {},
    });
    leases.offer(Buffer.from('request'));
    await undefined;
    assert.deepEqual(told, ['unread']);
    await assert.rejects(leases.replace(order.request), NotStartedError);
  });
});
