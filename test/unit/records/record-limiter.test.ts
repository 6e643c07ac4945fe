import assert from 'node:assert/strict';
import { RecordLimiter } from '../../../src/records/record-limiter.ts';

const budgets = { work: { burst: 10, perSecond: 2 }, talk: { burst: 3, perSecond: 1 } };
const [alice, bob] = [1500, 1501];

function admitted(
  limiter: RecordLimiter,
  times: number,
  now: number,
  which: 'work' | 'talk' = 'talk',
  user = alice,
) {
  return Array.from({ length: times }, () => limiter.admit(user, which, now)).filter((each) => each).length;
}

describe('record limiter', () => {
  it('admits the burst of a user, and further records as time passes', () => {
    const limiter = new RecordLimiter(budgets);
    assert.equal(admitted(limiter, 10, 0), 3);
    assert.equal(admitted(limiter, 10, 900), 0);
    assert.equal(admitted(limiter, 10, 2000), 2);
    assert.equal(admitted(limiter, 10, 1_000_000), 3);
  });

  it('a user does not use up the budget of another', () => {
    const limiter = new RecordLimiter(budgets);
    admitted(limiter, 1000, 0);
    assert.equal(admitted(limiter, 3, 0, 'talk', bob), 3);
  });

  it('refusals of a user do not use up the budget of that user’s work', () => {
    const limiter = new RecordLimiter(budgets);
    admitted(limiter, 1000, 0);
    assert.equal(admitted(limiter, 10, 0, 'work'), 10);
  });

  it('never drops records of root', () => {
    const limiter = new RecordLimiter(budgets);
    assert.equal(admitted(limiter, 1000, 0, 'talk', 0), 1000);
    assert.deepEqual(limiter.takeDropped(0), []);
  });

  it('reports the number of dropped records of each user once', () => {
    const limiter = new RecordLimiter(budgets);
    admitted(limiter, 10, 0);
    admitted(limiter, 12, 0, 'work');
    admitted(limiter, 4, 0, 'talk', bob);
    assert.deepEqual(limiter.takeDropped(0), [
      { user: alice, count: 9 },
      { user: bob, count: 1 },
    ]);
    assert.deepEqual(limiter.takeDropped(0), []);
  });

  it('keeps the budget of a user after reporting', () => {
    const limiter = new RecordLimiter(budgets);
    admitted(limiter, 10, 0);
    limiter.takeDropped(0);
    assert.equal(admitted(limiter, 10, 0), 0);
    limiter.takeDropped(60_000);
    assert.equal(admitted(limiter, 10, 60_000), 3);
  });
});
