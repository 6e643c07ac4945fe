import assert from 'node:assert/strict';
import {
  failureText,
  leftToShow,
  type Outcome,
  parseResults,
  type Run,
  tally,
  whereShown,
} from '../../support/runs.ts';

const run = (name: string, outcomes: Record<string, Outcome['state']>, status = 0, cutOff = 0): Run => ({
  name,
  status,
  cutOff,
  outcomes: Object.entries(outcomes).map(([title, state]) => ({ title, state })),
});

const counts = (...args: Parameters<typeof tally>): number[] => {
  const { passed, failed, notShown } = tally(...args);
  return [passed, failed, notShown.length];
};

describe('the count of all tests', () => {
  it('has a test that the container skipped and the VM passed once, as passed', () => {
    const runs = [run('container', { a: 'passed', b: 'skipped' }), run('vm', { a: 'passed', b: 'passed' })];
    assert.deepEqual(counts(runs), [2, 0, 0]);
  });

  it('has a test that failed in one machine once, as failed, whatever the other one says', () => {
    const runs = [run('container', { a: 'passed' }), run('vm', { a: 'failed' }, 1)];
    assert.deepEqual(counts(runs), [0, 1, 0]);
    assert.deepEqual(counts([run('container', { a: 'failed' }, 1), run('vm', { a: 'passed' })]), [0, 1, 0]);
  });

  it('keeps tests of the host and of the machines with the same title apart', () => {
    assert.deepEqual(counts([run('host', { a: 'passed' }), run('container', { a: 'skipped' })]), [1, 0, 1]);
  });

  it('has one failure for a run that ended badly without a failed test, in the middle, or before the first test', () => {
    for (const bad of [
      run('vm', { a: 'passed' }, 97),
      run('vm', { a: 'passed' }, 0, 1),
      run('vm', {}, 0),
      run('vm', {}, 1, 1),
    ])
      assert.equal(tally([bad]).failed, 1);
    assert.equal(tally([run('vm', { a: 'failed' }, 1)]).failed, 1);
  });

  it('has one failure for each title that the VM was given and has not run', () => {
    assert.deepEqual(counts([run('vm', { a: 'passed' })], ['a', 'b']), [1, 1, 0]);
  });

  it('names each test that failed, its machine and its error, of which the beginning is enough', () => {
    const failed = { title: 'a', state: 'failed', reason: `first\nsecond ${'x'.repeat(9999)}` } as const;
    const { failures } = tally([
      { ...run('vm', { b: 'passed' }, 1), outcomes: [failed] },
      run('container', { a: 'passed' }),
    ]);
    const text = failures.map(failureText).join('');
    assert.match(text, /^Failed \(vm\): a\n {4}first\n {4}second x+$/);
    assert.ok(text.length < 2000);
  });

  it('says how many tests were shown nowhere, and where they would be', () => {
    const runs = [run('host', { a: 'skipped' }), run('container', { b: 'skipped', c: 'passed' })];
    assert.equal(
      whereShown(tally(runs), runs),
      '2 tests were not shown, see above why. The VM would show 1 of them: npm test, npm run test:vm. Another host would show 1 of them.',
    );
  });
});

describe('what is left for the VM', () => {
  it('is what the container has skipped and the VM has not run', () => {
    const container = run('container', { a: 'skipped', b: 'skipped', c: 'passed', d: 'failed' });
    assert.deepEqual(leftToShow([container, run('vm', { a: 'passed' })]), ['b']);
    assert.deepEqual(leftToShow([container]), ['a', 'b']);
  });
});

describe('the results of a boot', () => {
  it('tell of each test, and whether they tell of all', () => {
    const line = { title: 'a', state: 'passed' };
    assert.deepEqual(parseResults(`${JSON.stringify(line)}\n`), { outcomes: [line], ended: false });
    assert.deepEqual(parseResults(`${JSON.stringify(line)}\n{"ended":true}\n`), {
      outcomes: [line],
      ended: true,
    });
  });
});
