/** Calls of the client library as command lines of criuctl, read back by criuctl’s own parser. */
import assert from 'node:assert/strict';
import { type Parsed, parseCommandLine } from '../../../../src/cli/command-line.ts';
import { checkedEnvironment, ownEnvironment, wordsFor } from '../../../../src/client/job/command-line.ts';
import { isJobError } from '../../../../src/client/job/job-error.ts';

function parsed(words: readonly string[]): Parsed {
  const result = parseCommandLine(words);
  assert.ok(!('exitCode' in result), words.join(' '));
  return result;
}

const invalid = (error: unknown): boolean => isJobError(error, 'INVALID') && error.exitCode === 2;

describe('a call of the client library', () => {
  const commands: readonly (readonly string[])[] = [
    ['./sim', 'input.dat'],
    ['-x'],
    ['--'],
    ['--', '--', '-v4', '-Rv4'],
    ['prog', '--every', '10min', '--json', '--dir=/', '-D', '--help', '--version'],
    ['prog', '', ' ', '\n', '\t"\'$(id)`', 'ünï', '--cpu-cap', '-v'],
    ['run', 'sim', '--'],
  ];
  for (const command of commands)
    it(`passes the command ${JSON.stringify(command)} on as it is`, () => {
      for (const options of [
        {},
        { stdin: '/-', every: 90, keep: 2, restoreFiles: true },
        { every: 'auto' as const },
      ]) {
        const words = wordsFor({ verb: 'run', command, options }, 'sim', undefined);
        const { verb, action, command: arrived, own } = parsed(words);
        assert.deepEqual([verb, action, arrived], ['run', 'sim', [...command]]);
        assert.equal(own.json, true);
        assert.deepEqual(
          [own.stdin, own.job.every, own.keep, own.restoreFiles, own.job.foreground],
          [options.stdin, options.every, options.keep, options.restoreFiles ?? false, false],
        );
      }
    });

  it('names its job, its checkpoint and the directory of jobs, whatever they are', () => {
    const resume = parsed(wordsFor({ verb: 'resume', from: 7 }, 'a.b_c-d', '--foreground'));
    assert.deepEqual([resume.verb, resume.action, resume.own.job.from], ['resume', 'a.b_c-d', 7]);
    assert.deepEqual([resume.own.job.dir, resume.own.job.foreground], ['--foreground', false]);
    for (const verb of ['checkpoint', 'suspend', 'remove'] as const) {
      const { verb: arrived, action, own } = parsed(wordsFor({ verb }, 'sim', '/my jobs'));
      assert.deepEqual([arrived, action, own.json, own.job.dir], [verb, 'sim', true, '/my jobs']);
    }
    assert.equal(parsed(wordsFor({ verb: 'jobs' }, '', undefined)).verb, 'jobs');
  });

  it('without a command, or with an argument that no process can get, is refused', () => {
    const wrong = [[], [''], ['a', 'b\0c'], ['a', 7], [undefined], 'ls', undefined];
    for (const command of wrong as unknown as readonly (readonly string[])[])
      assert.throws(() => wordsFor({ verb: 'run', command, options: {} }, 'sim', undefined), invalid);
    assert.throws(() => wordsFor({ verb: 'jobs' }, '', '/a\0b'), invalid);
  });

  it('refuses an environment that would arrive as another', () => {
    for (const wrong of [{ 'A=B': 'c' }, { '': 'c' }, { 'A\0': 'c' }, { A: 'b\0c' }, { A: 7 }] as object[])
      assert.throws(() => checkedEnvironment(wrong as NodeJS.ProcessEnv), invalid, JSON.stringify(wrong));
    assert.deepEqual(checkedEnvironment({ A: '', B: 'x=y\n', C: undefined }), { A: '', B: 'x=y\n' });
  });

  it('keeps variables of Node’s from criuctl, except from the environment of a job', () => {
    assert.deepEqual(ownEnvironment({ NODE_OPTIONS: '--require x', NODE_DEBUG: 'fs', HOME: '/' }), {
      HOME: '/',
    });
    assert.deepEqual(checkedEnvironment({ NODE_OPTIONS: '' }), { NODE_OPTIONS: '' });
  });
});
