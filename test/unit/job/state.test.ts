import assert from 'node:assert/strict';
import { candidates, chainOf, nextNumber, numbersOf, superfluous } from '../../../src/job/checkpoints.ts';
import { durationInWords, parseDuration } from '../../../src/job/duration.ts';
import { parseEnd } from '../../../src/job/end.ts';
import { goesOnFrom, longestChain } from '../../../src/job/increment.ts';
import { optimumInterval } from '../../../src/job/interval.ts';
import { faultOfName } from '../../../src/job/name.ts';
import { isSameWork, type JobSpec, parseSpec } from '../../../src/job/spec.ts';
import { type JobFacts, type JobState, type NextStep, nextStep, stateOf } from '../../../src/job/state.ts';

const run = (
  process: 'runs' | 'gone' | 'on-another-machine',
  from?: number,
  mayRunElsewhere = false,
): JobFacts['run'] => ({ process, pid: 7, host: 'n2', from, mayRunElsewhere });
const end = { kind: 'exited', code: 3 } as const;
const kept = (number: number, ended = false) => ({ number, ended });

const table: readonly (readonly [string, Partial<JobFacts>, JobState, NextStep])[] = [
  ['was never started', {}, { is: 'new' }, { does: 'start' }],
  ['runs', { run: run('runs') }, { is: 'running', pid: 7 }, { does: 'nothing', because: 'running' }],
  [
    'runs, with a checkpoint that has ended an earlier process',
    { run: run('runs', 2), checkpoint: kept(2, true) },
    { is: 'running', pid: 7 },
    { does: 'nothing', because: 'running' },
  ],
  [
    'has left its end, and its root exits',
    { run: run('runs'), end },
    { is: 'finished', end },
    { does: 'nothing', because: 'finished' },
  ],
  [
    'has finished after its checkpoints',
    { run: run('gone'), end, checkpoint: kept(4) },
    { is: 'finished', end },
    { does: 'nothing', because: 'finished' },
  ],
  [
    'was ended by its checkpoint',
    { run: run('gone', 1), checkpoint: kept(2, true) },
    { is: 'suspended', from: 2 },
    { does: 'resume', from: 2 },
  ],
  [
    'was ended after it had been resumed from the checkpoint that had ended it before',
    { run: run('gone', 2), checkpoint: kept(2, true) },
    { is: 'interrupted', from: 2 },
    { does: 'resume', from: 2 },
  ],
  [
    'was ended between two checkpoints',
    { run: run('gone'), checkpoint: kept(5) },
    { is: 'interrupted', from: 5 },
    { does: 'resume', from: 5 },
  ],
  [
    'was ended before its first checkpoint',
    { run: run('gone') },
    { is: 'interrupted', from: undefined },
    { does: 'start' },
  ],
  [
    'runs on another machine',
    { run: run('on-another-machine', undefined, true), checkpoint: kept(1) },
    { is: 'running-elsewhere', host: 'n2' },
    { does: 'nothing', because: 'running-elsewhere' },
  ],
  [
    'was suspended on another machine',
    { run: run('on-another-machine', 1, true), checkpoint: kept(2, true) },
    { is: 'suspended', from: 2 },
    { does: 'resume', from: 2 },
  ],
  [
    'was watched on another machine that has let go of it',
    { run: run('on-another-machine'), checkpoint: kept(1) },
    { is: 'interrupted', from: 1 },
    { does: 'resume', from: 1 },
  ],
];

describe('the state of a job', () => {
  for (const [name, facts, state, step] of table) {
    it(`that ${name} is ${state.is}, and ${step.does} follows`, () => {
      const found = stateOf({ run: undefined, end: undefined, checkpoint: undefined, ...facts });
      assert.deepEqual(found, state);
      assert.deepEqual(nextStep(found), step);
    });
  }
});

describe('the checkpoints of a job', () => {
  it('have numbers that never come twice, also beside one in the making', () => {
    assert.deepEqual(numbersOf(['2', '10', '.new-11', '01', 'x', '0']), [2, 10]);
    assert.equal(nextNumber([]), 1);
    assert.equal(nextNumber(['2', '10', '.new-11']), 12);
  });

  it('are tried from the latest on downwards: newer ones belong to a course that was given up', () => {
    assert.deepEqual(candidates([1, 2, 3, 5], 3), [3, 2, 1]);
    assert.deepEqual(candidates([1, 2], undefined), [2, 1]);
    assert.deepEqual(candidates([1, 2], 9), [2, 1]);
    assert.deepEqual(candidates([], 1), []);
  });

  it('go when there are more than asked for, the oldest first and the latest never', () => {
    assert.deepEqual(superfluous([1, 2, 3, 4], 3, 4), [1]);
    assert.deepEqual(superfluous([1, 2, 3, 4], 1, 4), [1, 2, 3]);
    assert.deepEqual(superfluous([1, 2, 3, 4], 2, 1), [2, 3]);
    assert.deepEqual(superfluous([1], 3, 1), []);
  });

  it('stay as long as a later one needs their memory', () => {
    const parents = new Map([
      [2, 1],
      [3, 2],
      [5, 4],
    ]);
    const parentOf = (number: number) => parents.get(number);
    assert.deepEqual(superfluous([1, 2, 3], 1, 3, parentOf), []);
    assert.deepEqual(superfluous([1, 2, 3, 4], 2, 4, parentOf), []);
    assert.deepEqual(superfluous([1, 2, 3, 4, 5], 2, 5, parentOf), [1, 2, 3]);
    assert.deepEqual(chainOf(3, parentOf), [1, 2, 3]);
    assert.deepEqual(chainOf(4, parentOf), [4]);
    assert.deepEqual(
      chainOf(1, () => 1),
      [1],
    );
  });

  it('have what has changed, as long as changes are tracked, and that costs less than all memory', () => {
    assert.equal(goesOnFrom([100], true), true);
    assert.equal(goesOnFrom([100], false), false);
    assert.equal(goesOnFrom([], true), false);
    assert.equal(goesOnFrom([100, 40, 50], true), true);
    assert.equal(goesOnFrom([100, 40, 60], true), false);
    const chain = [100, ...Array.from({ length: longestChain - 1 }, () => 1)];
    assert.equal(goesOnFrom(chain, true), false);
    assert.equal(goesOnFrom(chain.slice(0, -1), true), true);
  });
});

describe('job.json', () => {
  const spec: JobSpec = {
    format: 1,
    name: 'sim',
    program: '/usr/bin/sim',
    command: ['sim', 'x'],
    directory: '/home/alice',
    umask: 0o22,
    stdin: undefined,
    every: 600,
    keep: 3,
    restoreFiles: false,
    pty: false,
  };

  it('is read as it was written', () => {
    assert.deepEqual(parseSpec(JSON.stringify(spec)), spec);
    assert.deepEqual(parseSpec(JSON.stringify({ ...spec, every: 'auto', stdin: '/in' })), {
      ...spec,
      every: 'auto',
      stdin: '/in',
    });
  });

  it('with a fault is an error with a sentence', () => {
    const broken: readonly (readonly [unknown, RegExp])[] = [
      ['{', /no JSON/],
      [null, /no object/],
      [{ ...spec, format: 2 }, /format 2, and this criuctl knows 1/],
      [{ ...spec, command: [] }, /lacks a command/],
      [{ ...spec, command: ['a\0b'] }, /lacks a command/],
      [{ ...spec, program: 7 }, /lacks a name/],
      [{ ...spec, keep: 0 }, /wrong number/],
      [{ ...spec, umask: -1 }, /wrong number/],
      [{ ...spec, every: 0 }, /wrong interval/],
      [{ ...spec, stdin: 1 }, /wrong standard input/],
    ];
    for (const [value, sentence] of broken) {
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      assert.throws(() => parseSpec(text), sentence);
    }
  });

  it('is the same work with the same command in the same place, whatever its interval', () => {
    assert.equal(isSameWork(spec, { ...spec, every: undefined, keep: 9 }), true);
    assert.equal(isSameWork(spec, { ...spec, command: ['sim', 'y'] }), false);
    assert.equal(isSameWork(spec, { ...spec, directory: '/' }), false);
    assert.equal(isSameWork(spec, { ...spec, stdin: '/in' }), false);
  });
});

describe('a job’s words', () => {
  it('are names that a directory and a unit can have', () => {
    for (const name of ['a', 'sim-1', 'A.b_c', '7']) assert.equal(faultOfName(name), undefined);
    for (const name of ['', '.x', '-x', 'a/b', 'a b', 'ä', 'a@b', 'x'.repeat(65)])
      assert.ok(faultOfName(name));
  });

  it('are durations as in systemd.time(7)', () => {
    const known = { '90': 90, '90s': 90, '10min': 600, '1h 30min': 5400, '1h30m': 5400, '2d': 172_800 };
    for (const [text, seconds] of Object.entries(known)) assert.equal(parseDuration(text), seconds, text);
    for (const text of ['', '0', '-1', '1.5h', '10 x', 'min', '1h-', '400d', 'constructor', '1toString'])
      assert.equal(parseDuration(text), undefined, text);
    assert.equal(durationInWords(5400), '1h 30min');
    assert.equal(durationInWords(0), '0s');
    assert.equal(durationInWords(90_061), '1d 1h');
  });

  it('are the ends that the root of a tree leaves', () => {
    assert.deepEqual(parseEnd('exited 0\n'), { kind: 'exited', code: 0 });
    assert.deepEqual(parseEnd('killed 9\n'), { kind: 'signalled', signal: 9 });
    for (const text of ['', 'exited 0', 'exited\n', 'killed -1\n', 'exited 1\nx'])
      assert.equal(parseEnd(text), undefined);
  });
});

describe('the interval of checkpoints', () => {
  it('is about the square root of twice the cost and the time between failures', () => {
    assert.equal(optimumInterval(1, 86_400), Math.round(Math.sqrt(2 * 86_400) * 1.0008 - 1));
    assert.ok(optimumInterval(100, 86_400) > optimumInterval(10, 86_400));
  });

  it('is a minute at least, and a checkpoint that costs more than the time between failures is made once in that time', () => {
    assert.equal(optimumInterval(0.001, 86_400), 60);
    assert.equal(optimumInterval(200_000, 86_400), 86_400);
  });
});
