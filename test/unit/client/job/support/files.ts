/** The files of a job, as criuctl and the root of its tree write them, step by step. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeWhole } from '../../../../../src/job/files.ts';
import { Job, writeNote } from '../../../../../src/job/job.ts';
import { recordOf } from '../../../../../src/job/run-record.ts';
import { startTimeOf } from '../../../../../src/proc/stat.ts';

export class JobFiles {
  readonly home: string;
  readonly name = 'sim';
  readonly #place: string;
  readonly #processes: number[] = [];

  /** @param depth directories above the jobs that are not there yet. */
  constructor(depth = 0) {
    const place = mkdtempSync(join(tmpdir(), 'job-files-'));
    this.#place = place;
    this.home = join(place, ...Array.from({ length: depth }, (_, at) => `d${at}`));
  }

  get job(): Job {
    return Job.find(this.home, this.name)!;
  }

  make(): Job {
    const job = Job.make(this.home, this.name);
    job.writeSpec({
      format: 1,
      name: this.name,
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
    return job;
  }

  /** A process that is recorded as the job's, and like a job's no child of this program. @returns its pid. */
  start(from?: number): number {
    const begin = 'sleep 1000 </dev/null >/dev/null 2>&1 & echo $!';
    const pid = Number(execFileSync('sh', ['-c', begin], { encoding: 'utf8' }));
    this.#processes.push(pid);
    this.job.writeRun(recordOf(pid, from, false)!);
    return pid;
  }

  end(text: string): void {
    writeWhole(this.job.at('end'), text);
  }

  /** Complete, but without a name: its process may be gone already. */
  checkpointAside(number: number, ends: boolean): void {
    const aside = this.job.at('checkpoints', `.new-${number}`);
    mkdirSync(aside);
    writeNote(aside, { format: 1, number, ends, restore: {} });
  }

  nameCheckpoint(number: number): void {
    const { job } = this;
    renameSync(job.at('checkpoints', `.new-${number}`), job.checkpoint(number));
    job.latest = number;
  }

  remove(): void {
    if (existsSync(join(this.home, this.name))) this.job.remove(this.home);
  }

  /** @returns when the process has gone. */
  async kill(pid: number): Promise<void> {
    this.#processes.splice(this.#processes.indexOf(pid), 1);
    process.kill(pid, 'SIGKILL');
    while (startTimeOf(pid) !== undefined) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  close(): void {
    for (const pid of this.#processes) process.kill(pid, 'SIGKILL');
    rmSync(this.#place, { recursive: true, force: true });
  }
}
