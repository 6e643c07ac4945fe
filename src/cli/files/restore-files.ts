/** criuctl restore --restore-files: the files of the program are as they were at the dump, and nothing of them is lost. */

import { fateAfter } from '../destination.ts';
import { newFile } from '../directories.ts';
import { exitCodes } from '../exit-codes.ts';
import { type Invocation, Obstacle } from '../invocation.ts';
import type { Plan, PutBack } from './put-back.ts';

export class RestoredFiles {
  readonly #plan: Extract<Plan, { is: 'plan' }>;

  /**
   * Judges all files, and touches none.
   * @param images with the program's streams as they will be.
   * @returns undefined without that option.
   * @throws Obstacle if a file cannot be put back.
   */
  static async for(invocation: Invocation, images: string): Promise<RestoredFiles | undefined> {
    if (!invocation.own.restoreFiles) return undefined;
    // A file of its own: other restores start without it.
    const { planFor } = await import('./put-back.ts');
    const plan = planFor(images, (path) => newFile(invocation, path));
    if (plan.is === 'plan') return new RestoredFiles(plan);
    const [first, ...rest] = plan.sentences;
    throw new Obstacle(exitCodes.refused, `RESTORE refused: ${first}`, ...rest);
  }

  private constructor(plan: Extract<Plan, { is: 'plan' }>) {
    this.#plan = plan;
  }

  /** Asks with the files as they were. After a failure they are as they were found. */
  async ask<T>(ask: () => Promise<T>): Promise<{ readonly result: T; readonly warnings: readonly string[] }> {
    const files = this.#carryOut();
    try {
      return { result: await ask(), warnings: files.map(inWords) };
    } catch (error) {
      if (fateAfter(error, true) === 'nothing') this.#plan.undo();
      else for (const file of files) process.stderr.write(`criuctl: warning: ${inWords(file)}\n`);
      throw error;
    }
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

function inWords({ path, kept, bytes }: PutBack): string {
  return `${path} is as it was at the dump; the ${bytes} bytes that came after are in ${kept}`;
}
