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
  }

  /** After the end of the tree nobody holds the lock any more. */
  async release(): Promise<void> {
    const { exitCode, signalCode } = this.#holder;
    const ended = exitCode === null && signalCode === null ? once(this.#holder, 'exit') : undefined;
    this.#holder.stdin!.destroy();
    if (this.#job.state.is !== 'running') {
      this.#holder.ref();
      await ended;
    }
    this.#lock.release();
  }
}
