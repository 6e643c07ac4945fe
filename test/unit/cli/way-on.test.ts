/** The failure of a job's resume whose files are in the way. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Explanation, explain } from '../../../src/cli/explain.ts';
import type { Invocation } from '../../../src/cli/invocation.ts';
import { begin } from '../../../src/cli/job/begin.ts';
import { type Context, sentenceOf, type Tools } from '../../../src/cli/job/context.ts';
import { Job } from '../../../src/job/job.ts';
import { specFormat } from '../../../src/job/spec.ts';

describe('a resume that files are in the way of', () => {
  let home: string;
  let job: Job;
  beforeEach(() => {
    home = realpathSync(mkdtempSync(join(tmpdir(), 'criuctl-way-on-')));
    job = Job.make(home, 'sim');
    job.writeSpec({
      format: specFormat,
      name: 'sim',
      program: '/bin/true',
      command: ['true'],
      directory: '/',
      umask: 0o22,
      stdin: undefined,
      every: undefined,
      keep: 3,
      restoreFiles: false,
      pty: false,
    });
    for (const number of [1, 2]) mkdirSync(job.checkpoint(number));
    job.latest = 2;
  });
  afterEach(() => rmSync(home, { recursive: true }));

  const failed: Explanation = {
    exitCode: 1,
    message: 'RESTORE failed: /data has 5 bytes, and had 7 bytes at the dump',
    code: 'FAILED',
    errno: 'EINVAL',
    lines: ['Error (criu/files-reg.c:2131): File data has bad size 5 (expect 7)'],
    log: '/jobs/sim/checkpoints/2/restore.log',
    advice: ['See the log'],
  };

  /** Only checkpoint 1 fits the files. */
  function context(): Context {
    const invocation = {
      verb: 'resume',
      options: {},
      own: { job: { foreground: false, dir: undefined }, trustImages: false, restoreFiles: false },
    } as unknown as Invocation;
    const tools: Partial<Tools> = {
      restore: () => Promise.reject(new Error('the restore has failed')),
      explain: (error, of) =>
        (error as Error).message === 'the restore has failed' ? Promise.resolve(failed) : explain(error, of),
      filesFit: async ({ options }) => options.imagesDir === job.checkpoint(1),
      faultsOf: async () => [],
    };
    return { invocation, tools: tools as Tools, home };
  }

  const failure = (): Promise<unknown> =>
    begin(context(), job, false).then(
      () => assert.fail('it was resumed'),
      (error: unknown) => error,
    );

  it('names the way on, and keeps the code, the lines and the log of the failed restore', async () => {
    const { exitCode, message, code, errno, lines, log, advice } = await explain(
      await failure(),
      context().invocation,
    );
    assert.equal(
      message,
      `${failed.message}; its files fit a resume from checkpoint 1: criuctl resume sim --from 1`,
    );
    assert.deepEqual({ ...failed, message }, { exitCode, message, code, errno, lines, log, advice });
  });

  it('has a sentence that ends with the command to copy', async () => {
    assert.match(await sentenceOf(context(), await failure()), /: criuctl resume sim --from 1$/);
  });
});
