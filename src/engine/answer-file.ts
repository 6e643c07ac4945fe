/**
 * Answers that cannot change, over the time in which this service is not there: a service that has left because it was idle answers
 * the first VERSION of its next start without an engine. In a directory of root's that is gone with the boot.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Answers {
  /** Of which engine. */
  readonly identity: string;
  /** Questions and answers as bytes in Latin-1. */
  readonly answers: ReadonlyMap<string, string>;
}

export class AnswerFile {
  readonly #path: string;

  /** @param directory that nobody but root can write. */
  constructor(directory: string) {
    this.#path = join(directory, 'answers.json');
  }

  /** @returns undefined where there is none, or none of ours. */
  read(): Answers | undefined {
    try {
      const { identity, answers } = JSON.parse(readFileSync(this.#path, 'utf8'));
      return { identity: String(identity), answers: new Map(answers) };
    } catch {
      return undefined;
    }
  }

  /** Whole: whoever is killed meanwhile leaves the one before. */
  write({ identity, answers }: Answers): void {
    const next = `${this.#path}.tmp`;
    try {
      writeFileSync(next, JSON.stringify({ identity, answers: [...answers] }), { mode: 0o600 });
      renameSync(next, this.#path);
    } catch {
      // Without it the next start asks an engine.
    }
  }

  remove(): void {
    try {
      rmSync(this.#path, { force: true });
    } catch {
      // Somebody has put something else there, which is read as nothing.
    }
  }
}
