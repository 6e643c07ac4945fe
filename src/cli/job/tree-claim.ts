/**
 * The watch lock of a job in the foreground, held by criu-job-claim for as long as the job's tree lives, also if this criuctl is killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { Job } from '../../job/job.ts';
import type { Lock } from '../../job/lock.ts';
import { exitCodes } from '../exit-codes.ts';
import { Obstacle } from '../invocation.ts';
import { ownProgram } from './own-program.ts';

export class TreeClaim {
  readonly #job: Job;
  readonly #lock: Lock;
  readonly #holder: ChildProcess;

  /**
   * Before the job is begun.
   * @returns undefined if another criuctl watches the job, or its tree lives.
   * @throws Obstacle without a holder
   */
  static async take(job: Job): Promise<TreeClaim | undefined> {
    const lock = job.watch();
    if (!lock) return undefined;
    const program = ownProgram('criu-job-claim');
    try {
      // The lock is its descriptor 3.
      const holder = spawn(program, [job.at('root')], {
        env: {},
        detached: true,
        stdio: ['pipe', 'ignore', 'ignore', lock.number],
      });
      await once(holder, 'spawn');
      return new TreeClaim(job, lock, holder);
    } catch (error) {
      lock.release();
      const { code, message } = error as NodeJS.ErrnoException;
      throw new Obstacle(
        exitCodes.failed,
        `Job ${job.name} cannot be kept from a second run: ${program}: ${code ?? message}`,
      );
    }
  }

  private constructor(job: Job, lock: Lock, holder: ChildProcess) {
    this.#job = job;
    this.#lock = lock;
    this.#holder = holder;
    holder.unref();
    (holder.stdin as Socket).unref();
    // A holder that was killed holds nothing; the lock is this criuctl's, too.
    holder.stdin!.on('error', () => {});
  }

  /** The holder knows that a start or restore is in flight: the tree may come to be after this criuctl was killed. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#holder.stdin!.write('+');
    try {
      return await work();
    } finally {
      this.#holder.stdin!.write('-');
    }
  }

  /** This criuctl has begun nothing: a tree that lives has another claim, or none. */
  async giveUp(): Promise<void> {
    this.#holder.kill('SIGKILL');
    await this.#end();
  }

  /** The lock is free afterwards, unless the tree lives. */
  async release(): Promise<void> {
    if (this.#isRunning()) {
      this.#holder.stdin!.end();
      this.#lock.release();
    } else await this.#end();
  }

  async #end(): Promise<void> {
    const { exitCode, signalCode } = this.#holder;
    const ended = exitCode === null && signalCode === null ? once(this.#holder, 'exit') : undefined;
    this.#holder.stdin!.end();
    this.#holder.ref();
    await ended;
    this.#lock.release();
  }

  #isRunning(): boolean {
    try {
      return this.#job.state.is === 'running';
    } catch {
      // The job was removed, which needs its end.
      return false;
    }
  }
}
