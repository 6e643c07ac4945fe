/** criuctl restore --restore-files: the files of the program are as they were at the dump, and nothing of them is lost. */

import { sanitize } from '../../systemd/log.ts';
import { fateAfter } from '../destination.ts';
import { atNewFile, placesOf } from '../directories.ts';
import { exitCodes } from '../exit-codes.ts';
import { type Invocation, Obstacle } from '../invocation.ts';
import type { Plan, PutBack, Reach, Which } from './put-back.ts';

export class RestoredFiles {
  readonly #plan: Extract<Plan, { is: 'plan' }>;
  readonly #signal: AbortSignal;

  /**
   * Judges all files, and leaves them as they are.
   * @param images with the program's streams as they will be.
   * @returns undefined without that option.
   * @throws Obstacle if a file cannot be put back.
   */
  static async for(invocation: Invocation, images: string): Promise<RestoredFiles | undefined> {
    const { restoreFiles, jobFiles } = invocation.own;
    if (!restoreFiles && !jobFiles) return undefined;
    // A file of its own: other restores start without it.
    const { planFor } = await import('./put-back.ts');
    const plan = planFor(images, reachOf(invocation), whichOf(invocation));
    if (plan.is === 'plan') return new RestoredFiles(plan, invocation.signal);
    const [first, ...rest] = plan.sentences;
    throw new Obstacle(exitCodes.refused, `RESTORE refused: ${first}`, ...rest);
  }

  private constructor(plan: Extract<Plan, { is: 'plan' }>, signal: AbortSignal) {
    this.#plan = plan;
    this.#signal = signal;
  }

  /** Asks with the files as they were. After a failure they are as they were found. */
  async ask<T>(ask: () => Promise<T>): Promise<{ readonly result: T; readonly warnings: readonly string[] }> {
    // An interrupted request is not sent, and its files stay as they are.
    const files = this.#signal.aborted ? [] : this.#carryOut();
    try {
      return { result: await ask(), warnings: files.map(inWords) };
    } catch (error) {
      const left = fateAfter(error, true) === 'nothing' ? this.#plan.undo() : files.map(inWords);
      for (const sentence of left) warn(sentence);
      throw error;
    }
  }

  /** Call this after the restore. */
  release(): void {
    this.#plan.close();
  }

  #carryOut(): readonly PutBack[] {
    try {
      return this.#plan.carryOut();
    } catch (error) {
      throw new Obstacle(
        exitCodes.failed,
        `RESTORE refused: a file could not be put back: ${(error as Error).message}`,
      );
    }
  }
}

/** Whether a restore of these images finds the files of a job as it needs them: it leaves them as they are. Undefined if that cannot be told. */
export async function filesFit(invocation: Invocation): Promise<boolean | undefined> {
  const { allFit } = await import('./put-back.ts');
  try {
    const { images } = placesOf(invocation.options);
    return allFit(images, reachOf(invocation), whichOf(invocation));
  } catch {
    // A way that others decide about, or images that are gone.
    return undefined;
  }
}

function reachOf(invocation: Invocation): Reach {
  return (path, use) => atNewFile(invocation, path, use);
}

function whichOf({ own: { restoreFiles, jobFiles } }: Invocation): Which {
  return { within: restoreFiles ? undefined : jobFiles?.within, more: jobFiles?.written ?? [] };
}

function warn(sentence: string): void {
  process.stderr.write(`criuctl: warning: ${sanitize(sentence)}\n`);
}

function inWords({ path, kept, bytes }: PutBack): string {
  return `${path} is as it was at the dump; the ${bytes} bytes that came after are in ${kept}`;
}
