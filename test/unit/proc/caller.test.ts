/** Reading a caller twice: the questions, and the result of their answers. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { constants as os } from 'node:os';
import type { ProcAnswer, ProcQuestion } from '../../../src/native/binding.ts';
import {
  type CallerState,
  type Depth,
  looksPrivileged,
  readOwnState,
  readTwice,
} from '../../../src/proc/caller.ts';
import { answerAtOnce, type ProcReading } from '../../../src/proc/reading.ts';

type Change = (question: ProcQuestion, answer: ProcAnswer, time: number) => ProcAnswer;

/** Carries out a reading. @param change replaces each answer; it gets the number of times that the question was asked. */
function carryOut(
  reading: ProcReading<CallerState>,
  pid: number,
  change: Change = (_question, answer) => answer,
): { readonly state: CallerState; readonly batches: number } {
  const asked = new Map<string, number>();
  let batches = 0;
  function* changed(): ProcReading<CallerState> {
    for (let answers: ProcAnswer[] = []; ; ) {
      const step = reading.next(answers);
      if (step.done) return step.value;
      if (step.value.length > 0) batches += 1;
      const given = yield step.value;
      answers = step.value.map((question, at) => {
        const time = (asked.get(question.path) ?? 0) + 1;
        asked.set(question.path, time);
        return change(question, given[at]!, time);
      });
    }
  }
  const state = answerAtOnce(changed(), `/proc/${pid}`);
  return { state, batches };
}

describe('readTwice', () => {
  let sleeper: ChildProcess;
  let pid: number;

  before(() => {
    sleeper = spawn('/bin/sleep', ['600'], { stdio: 'ignore' });
    pid = sleeper.pid!;
    // Before its execve(2) the child is this process.
    while (readFileSync(`/proc/${pid}/comm`, 'latin1') !== 'sleep\n');
  });

  after(() => {
    sleeper.kill('SIGKILL');
  });

  const read = (depth: Depth, change?: Change) => carryOut(readTwice(pid, depth), pid, change);

  for (const depth of ['user', 'root'] as const) {
    it(`sends all questions together for a process with one thread (${depth})`, () => {
      const { state, batches } = read(depth);
      assert.equal(batches, 1);
      assert.deepEqual(
        state.threads.map(({ tid }) => tid),
        [pid],
      );
    });
  }

  it('has the same result if the questions are sent step by step', () => {
    // As on a kernel with a namespace that this program does not know.
    const stepwise = read('user', ({ path }, answer, time) =>
      path === 'ns' && time <= 2 ? 'new\n' : answer,
    );
    assert.ok(stepwise.batches > 1);
    assert.deepEqual(read('user').state, stepwise.state);
    const [own, theirs] = [readOwnState().threads[0]!, stepwise.state.threads[0]!];
    assert.deepEqual(Object.keys(theirs.namespaces).sort(), readdirSync('/proc/self/ns').sort());
    assert.deepEqual([theirs.namespaces, theirs.root], [own.namespaces, own.root]);
  });

  const uidOnce = (path: string, at: number): Change => {
    return (question, answer, time) =>
      question.path === path && time === at && typeof answer === 'string'
        ? answer.replace(/^Uid:.*$/m, 'Uid:\t7\t7\t7\t7')
        : answer;
  };

  for (const time of [1, 2]) {
    it(`refuses a process that had other uids in the ${time === 1 ? 'first' : 'second'} reading`, () => {
      const change = uidOnce(`task/${pid}/status`, time);
      assert.throws(() => read('user', change), /changed its credentials/);
    });
  }

  it('reads every thread if either reading finds more than one', () => {
    const tids = readdirSync(`/proc/${process.pid}/task`).map(Number);
    const own = carryOut(readTwice(process.pid, 'user'), process.pid);
    assert.deepEqual(own.state.threads.map(({ tid }) => tid).sort(), tids.sort());
    const change: Change = ({ path }, answer, time) =>
      path === 'task' && time === 2 ? `${pid}\n${process.pid}\n` : answer;
    assert.ok(read('user', change).batches > 1);
  });
});

describe('looksPrivileged', () => {
  /** The status of this process, without the seccomp filter that the test run may be under. */
  const status = readFileSync('/proc/self/status', 'latin1')
    .replace(/^Seccomp:.*$/m, 'Seccomp:\t0')
    .replace(/^NoNewPrivs:.*$/m, 'NoNewPrivs:\t0');

  /** Asks about a process with one thread, whose status is this answer. */
  function looksPrivilegedWith(answer: ProcAnswer): unknown {
    const reading = looksPrivileged(readOwnState());
    reading.next([]);
    reading.next(['7\n']);
    return reading.next([answer]).value;
  }

  it('accepts a process whose threads all hold everything that this service holds; an exited thread holds nothing', () => {
    assert.equal(looksPrivilegedWith(status), true);
    for (const ended of [os.errno.ENOENT, os.errno.ESRCH]) assert.equal(looksPrivilegedWith(ended), true);
  });

  it('refuses a thread that cannot be read, for example because it is in too many groups', () => {
    for (const failure of [os.errno.EFBIG, os.errno.EACCES])
      assert.equal(looksPrivilegedWith(failure), false);
  });

  it('refuses a thread that lacks a capability, or is under a seccomp filter', () => {
    for (const [line, other] of [
      [/^CapEff:.*$/m, 'CapEff:\t0000000000000000'],
      [/^Seccomp:.*$/m, 'Seccomp:\t2'],
      [/^NoNewPrivs:.*$/m, 'NoNewPrivs:\t1'],
    ] as const) {
      assert.equal(looksPrivilegedWith(status.replace(line, other)), false, other);
    }
  });
});
