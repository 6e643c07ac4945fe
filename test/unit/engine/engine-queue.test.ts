import assert from 'node:assert/strict';
import { SessionQuota } from '../../../src/daemon/session-quota.ts';
import {
  EngineQueue,
  type EngineTurn,
  type Limits,
  maxWaitingBytes,
} from '../../../src/engine/engine-queue.ts';
import type { UserKey } from '../../../src/proc/connection-user.ts';

const limits: Limits = { sessions: 16, sessionsPerUser: 4, engines: 8, enginesPerUser: 3 };

const [alice, bob, carol] = [1500, 1501, 1502];
function askOf(queue: EngineQueue, user: UserKey, privileged = false, bytes = 100): EngineTurn {
  const turn = queue.ask(user, privileged, bytes);
  return typeof turn === 'string' ? assert.fail(turn) : turn;
}
const never = (): boolean => assert.fail('asked whether it is root');

describe('session quota', () => {
  function enter(quota: SessionQuota, user: UserKey, times: number, isRoot: () => boolean = never): number {
    return Array.from({ length: times }, () => quota.enter(user, isRoot)).filter((each) => each === undefined)
      .length;
  }

  it('gives a user its share and no more, whatever others have', () => {
    const quota = new SessionQuota(limits);
    assert.equal(enter(quota, alice, 10), 4);
    assert.equal(enter(quota, bob, 10), 4);
    assert.match(quota.enter(alice, never) ?? '', /--max-sessions-per-user/);
  });

  it('gives a place back to whom it belonged', () => {
    const quota = new SessionQuota(limits);
    enter(quota, alice, 4);
    quota.leave(alice);
    assert.equal(enter(quota, alice, 2), 1);
  });

  it('counts what an earlier start has let in, whatever the limits are', () => {
    const quota = new SessionQuota(limits);
    for (let session = 0; session < 6; session += 1) quota.count(alice);
    assert.equal(enter(quota, alice, 1), 0);
    for (let session = 0; session < 3; session += 1) quota.leave(alice);
    assert.equal(enter(quota, alice, 2), 1);
  });

  it('counts callers of other user namespaces as one user', () => {
    assert.equal(enter(new SessionQuota(limits), 'strangers', 10), 4);
  });

  it('keeps an eighth for root, and has a limit for root, too', () => {
    const quota = new SessionQuota(limits);
    const users = [alice, bob, carol, 1503];
    assert.equal(
      users.reduce((sum, user) => sum + enter(quota, user, 4), 0),
      14,
    );
    assert.match(quota.enter(1504, never) ?? '', /--max-sessions\)/);
    assert.equal(
      enter(quota, 0, 4, () => true),
      2,
    );
  });

  it('has only the share of a user for uid 0 that is not root', () => {
    const quota = new SessionQuota(limits);
    assert.equal(
      enter(quota, 0, 10, () => false),
      4,
    );
    assert.equal(
      enter(quota, 0, 10, () => true),
      10,
    );
  });
});

describe('engine queue', () => {
  /** The users that may start, in this order. */
  function asker(queue: EngineQueue) {
    const started: string[] = [];
    const ask = (name: string, user: UserKey, privileged = false): EngineTurn => {
      const turn = askOf(queue, user, privileged);
      if (turn.ready)
        turn.ready.then(
          () => started.push(name),
          (error) => started.push(`${name}: ${error.message}`),
        );
      else started.push(name);
      return turn;
    };
    return { started, ask };
  }
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  it('starts at once what fits, and lets a user have no more than its share', async () => {
    const queue = new EngineQueue(limits);
    const { started, ask } = asker(queue);
    for (const name of ['a1', 'a2', 'a3', 'a4']) ask(name, alice);
    ask('b1', bob);
    await settled();
    assert.deepEqual(started, ['a1', 'a2', 'a3', 'b1']);
    assert.equal(queue.waiting, 1);
  });

  it('counts an engine that runs already, whatever the limits are', async () => {
    const queue = new EngineQueue(limits);
    const { started, ask } = asker(queue);
    const running = Array.from({ length: 4 }, () => queue.count(alice, false));
    ask('waits', alice);
    for (const turn of running.slice(0, 1)) turn.release();
    await settled();
    assert.deepEqual(started, []);
    running[1]!.release();
    await settled();
    assert.deepEqual(started, ['waits']);
  });

  it('serves the requests of one user in their order, as engines leave', async () => {
    const { started, ask } = asker(new EngineQueue(limits));
    const turns = ['a1', 'a2', 'a3', 'a4', 'a5'].map((name) => ask(name, alice));
    turns[1]!.release();
    await settled();
    assert.deepEqual(started.slice(3), ['a4']);
    turns[0]!.release();
    await settled();
    assert.deepEqual(started.slice(3), ['a4', 'a5']);
  });

  it('lets users take turns, however many requests each has', async () => {
    const { started, ask } = asker(new EngineQueue({ ...limits, engines: 2, enginesPerUser: 2 }));
    const first = ask('a1', alice);
    const turns = new Map<string, EngineTurn>();
    for (const name of ['a2', 'a3', 'a4']) turns.set(name, ask(name, alice));
    for (const name of ['b1', 'b2']) turns.set(name, ask(name, bob));
    turns.set('c1', ask('c1', carol));
    first.release();
    for (let i = 1; i < 7; i += 1) {
      await settled();
      turns.get(started[i]!)?.release();
    }
    assert.deepEqual(started, ['a1', 'a2', 'b1', 'c1', 'a3', 'b2', 'a4']);
  });

  it('keeps an eighth for root, who waits behind nobody else', async () => {
    const queue = new EngineQueue(limits);
    const { started, ask } = asker(queue);
    for (const user of [alice, bob, carol]) for (let i = 0; i < 3; i += 1) ask(`u${user}`, user);
    assert.equal(started.length, 7);
    ask('root', 0, true);
    assert.equal(started.at(-1), 'root');
    const second = ask('root again', 0, true);
    assert.ok(second.ready);
  });

  it('has a turn for others, too, when there is one engine in all', () => {
    assert.equal(askOf(new EngineQueue({ ...limits, engines: 1 }), alice).ready, undefined);
  });

  it('lets so many bytes of a user’s wait, and no more, whatever others have', async () => {
    const queue = new EngineQueue({ ...limits, enginesPerUser: 1 });
    const running = askOf(queue, alice, false, maxWaitingBytes);
    const large = askOf(queue, alice, false, maxWaitingBytes - 10);
    large.ready!.catch(() => {});
    askOf(queue, alice, false, 10);
    assert.match(String(queue.ask(alice, false, 1)), /^your requests .* ask again/);
    askOf(queue, bob, false, 10);
    askOf(queue, bob, false, maxWaitingBytes);
    const one = new EngineQueue({ ...limits, engines: 1 });
    for (let each = 0; each < 3; each += 1) askOf(one, 0, true, maxWaitingBytes);
    large.cancel(new Error('it left'));
    askOf(queue, alice, false, maxWaitingBytes - 10);
    running.release();
    await settled();
    assert.equal(typeof queue.ask(alice, false, 10), 'object', 'one of them waits no more');
    assert.equal(typeof queue.ask(alice, false, 1), 'string');
  });

  it('has a pace for what is work of systemd’s, for each user: what is beyond it waits, and is not refused', async () => {
    let now = 0;
    const alarms = new Map<() => void, number>();
    const clock = {
      now: () => now,
      after: (ms: number, callback: () => void) => {
        alarms.set(callback, now + ms);
        return () => alarms.delete(callback);
      },
    };
    const pass = async (ms: number): Promise<void> => {
      for (const end = now + ms; ; ) {
        const [next] = [...alarms].sort(([, a], [, b]) => a - b);
        if (!next || next[1] > end) {
          now = end;
          return;
        }
        now = next[1];
        alarms.delete(next[0]);
        next[0]();
        await settled();
      }
    };
    const queue = new EngineQueue({ ...limits, engines: 1000, enginesPerUser: 500 }, clock);
    const started: string[] = [];
    const ask = (name: string, user: UserKey, paced = true, privileged = false): EngineTurn => {
      const turn = queue.ask(user, privileged, 100, paced) as EngineTurn;
      (turn.ready ?? Promise.resolve()).then(
        () => started.push(name),
        () => {},
      );
      return turn;
    };
    for (let each = 0; each < 40; each += 1) ask('a', alice);
    const left = ask('left', alice);
    ask('a', alice, false);
    await settled();
    assert.equal(started.length, 32);
    ask('b', bob);
    ask('root', 0, false, true);
    await settled();
    assert.deepEqual(started.slice(32), ['b', 'root']);
    await pass(99);
    assert.equal(started.length, 34);
    await pass(1);
    assert.equal(started.length, 35);
    left.cancel(new Error('it left'));
    await pass(700);
    // With the last of them comes what was behind them and has no pace.
    assert.deepEqual(
      started.slice(34),
      Array.from({ length: 9 }, () => 'a'),
    );
    assert.equal(queue.waiting, 0);
    assert.equal(alarms.size, 0, 'nothing is waited for');
    await pass(10_000);
    for (let each = 0; each < 40; each += 1) ask('a', alice);
    await settled();
    assert.equal(started.length, 43 + 32, 'and no more than that after a quiet time');
  });

  it('counts an engine that is released twice once', async () => {
    const queue = new EngineQueue({ ...limits, enginesPerUser: 1 });
    const { started, ask } = asker(queue);
    const turn = ask('a1', alice);
    ask('a2', alice);
    ask('a3', alice);
    turn.release();
    turn.release();
    await settled();
    assert.deepEqual(started, ['a1', 'a2']);
  });

  it('forgets a request that is cancelled, and cancels nothing that has started', async () => {
    const queue = new EngineQueue({ ...limits, enginesPerUser: 1 });
    const { started, ask } = asker(queue);
    const first = ask('a1', alice);
    const second = ask('a2', alice);
    ask('a3', alice);
    second.cancel(new Error('left'));
    second.release();
    first.cancel(new Error('too late'));
    first.release();
    await settled();
    assert.deepEqual(started, ['a1', 'a2: left', 'a3']);
    assert.equal(queue.waiting, 0);
  });
});
