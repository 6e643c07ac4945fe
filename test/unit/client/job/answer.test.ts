/** The end of a criuctl as a result or an error. */
import assert from 'node:assert/strict';
import { exitCodes } from '../../../../src/cli/exit-codes.ts';
import { answerOf, type Ended } from '../../../../src/client/job/answer.ts';
import { codeOf, JobError, type JobErrorCode } from '../../../../src/client/job/job-error.ts';

const ended = (more: Partial<Ended>): Ended => ({ status: 0, signal: null, stdout: '', stderr: '', ...more });
const json = (value: object): string => `${JSON.stringify(value)}\n`;

function failureOf(more: Partial<Ended>, verb = 'checkpoint'): JobError {
  try {
    answerOf(ended(more), verb, 'sim');
  } catch (error) {
    assert.ok(error instanceof JobError);
    return error;
  }
  return assert.fail('it is an answer');
}

describe('an answer of criuctl', () => {
  it('is the object on its standard output, with the warnings before it', () => {
    const stdout = json({ verb: 'run', job: 'sim', state: 'running' });
    const stderr = 'criuctl: warning: there is no service yet\n(node:7) Warning: x\ncriuctl: warning: two\n';
    assert.deepEqual(answerOf(ended({ stdout, stderr }), 'run', 'sim'), {
      json: { verb: 'run', job: 'sim', state: 'running' },
      warnings: ['there is no service yet', 'two'],
    });
  });

  const table: readonly (readonly [string, Partial<Ended>, JobErrorCode, number | undefined, RegExp])[] = [
    ['nothing', {}, 'CRIUCTL', 0, /in another way/],
    ['no JSON', { stdout: 'running\n' }, 'CRIUCTL', 0, /in another way/],
    ['a list', { stdout: '[]' }, 'CRIUCTL', 0, /in another way/],
    ['half an object', { stdout: '{"verb":"checkpoint","jo' }, 'CRIUCTL', 0, /in another way/],
    [
      'an answer about another job',
      { stdout: json({ verb: 'checkpoint', job: 'x' }) },
      'CRIUCTL',
      0,
      /in another way/,
    ],
    [
      'an answer to another question',
      { stdout: json({ verb: 'run', job: 'sim' }) },
      'CRIUCTL',
      0,
      /in another way/,
    ],
    ['an end by a signal', { status: null, signal: 'SIGKILL' }, 'CRIUCTL', undefined, /was ended by SIGKILL/],
    ['an exit without a word', { status: 1 }, 'FAILED', 1, /ended with status 1/],
    ['an unknown status', { status: 77 }, 'FAILED', 77, /ended with status 77/],
    [
      'a wrong command line',
      { status: 2, stderr: "error: option '--every <duration>' argument: a duration is needed\n" },
      'INVALID',
      2,
      /^option '--every/,
    ],
    [
      'a fault of criuctl’s',
      { status: 1, stderr: 'criuctl: TypeError: x\nThis is a fault of criuctl: please report it\n' },
      'FAILED',
      1,
      /^TypeError: x; This is a fault/,
    ],
    [
      'a job that runs on another machine',
      { status: 3, stdout: json({ verb: 'checkpoint', job: 'sim', state: 'running-elsewhere' }) },
      'REFUSED',
      3,
      /runs on another machine/,
    ],
    [
      'an interruption',
      { status: 130, stderr: json({ success: false, message: 'Interrupted', code: 'ABORTED' }) },
      'ABORTED',
      130,
      /^Interrupted$/,
    ],
  ];
  for (const [what, more, code, exitCode, words] of table)
    it(`that is ${what} is an error of its kind`, () => {
      const error = failureOf(more);
      assert.deepEqual([error.code, error.exitCode], [code, exitCode]);
      assert.match(error.message, words);
    });

  it('that is a failure has its sentence, its advice, CRIU’s lines, and the log', () => {
    const said = {
      verb: 'checkpoint',
      success: false,
      message: 'DUMP failed: no space',
      code: 'FAILED',
      errno: 'ENOSPC',
      lines: ['Error (x): full'],
      log: '/jobs/sim/dump.log',
      advice: ['Make room', 7],
    };
    const error = failureOf({ status: 1, stderr: `criuctl: warning: w\n${json(said)}` });
    assert.deepEqual(
      [error.message, error.code, error.errnoName, error.lines, error.log, error.advice],
      ['DUMP failed: no space', 'FAILED', 'ENOSPC', ['Error (x): full'], '/jobs/sim/dump.log', ['Make room']],
    );
  });

  it('has a code for each exit status of criuctl', () => {
    const { failed, usage, refused, unreachable, directory, interrupted } = exitCodes;
    const codes = [failed, usage, refused, unreachable, directory, interrupted].map((each) => codeOf(each));
    assert.deepEqual(codes, ['FAILED', 'INVALID', 'REFUSED', 'UNREACHABLE', 'DIRECTORY', 'ABORTED']);
  });
});
