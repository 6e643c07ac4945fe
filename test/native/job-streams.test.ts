/** The standard streams of a job that starts. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { filesOf, terminalOf } from '../../src/cli/job/standard-streams.ts';
import { Job } from '../../src/job/job.ts';
import { specFormat } from '../../src/job/spec.ts';
import { requireNoLeak } from './support.ts';

describe('the standard streams of a job', () => {
  let home: string;
  let job: Job;
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'job-streams-'));
    job = Job.make(home, 'one');
    job.writeSpec({
      format: specFormat,
      name: 'one',
      program: '/bin/true',
      command: ['true'],
      directory: '/',
      umask: 0o22,
      stdin: undefined,
      every: undefined,
      keep: 1,
      restoreFiles: false,
      pty: false,
    });
  });
  afterEach(() => rmSync(home, { recursive: true, force: true }));

  it('are closed as a whole', () => {
    requireNoLeak(() => filesOf(job).close());
    requireNoLeak(() => terminalOf(job).close());
  });

  it('leave no descriptor open if the last of them cannot be opened', () => {
    const isDirectory = { code: 'EISDIR' };
    mkdirSync(job.at('stderr'));
    requireNoLeak(() => assert.throws(() => filesOf(job), isDirectory));
    rmSync(job.at('stdout'));
    mkdirSync(job.at('stdout'));
    requireNoLeak(() => assert.throws(() => terminalOf(job), isDirectory));
  });
});
