/**
 * Keeps answers that cannot change while this service is not running: if it exited because it was idle, its next start answers
 * the first VERSION without an engine. The directory is root's, and is emptied at boot.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Answers {
  /** The engine that gave the answers. */
  readonly identity: string;
  /** Questions and answers as bytes in Latin-1. */
  readonly answers: ReadonlyMap<string, string>;
}

export class AnswerFile {
  readonly #path: string;

  /** @param directory that only root can write. */
  constructor(directory: string) {
    this.#path = join(directory, 'answers.json');
  }

  /** @returns undefined if there is no file, or if it was not written by this service. */
  read(): Answers | undefined {
    try {
      const { identity, answers } = JSON.parse(readFileSync(this.#path, 'utf8'));
      return { identity: String(identity), answers: new Map(answers) };
    } catch {
      return undefined;
    }
  }

  /** Replaces the file atomically: a write that is killed leaves the previous file. */
  write({ identity, answers }: Answers): void {
    const next = `${this.#path}.tmp`;
    try {
      writeFileSync(next, JSON.stringify({ identity, answers: [...answers] }), { mode: 0o600 });
      renameSync(next, this.#path);
    } catch {
      // Without the file, the next start asks an engine.
    }
  }

  remove(): void {
    try {
      rmSync(this.#path, { force: true });
    } catch {
      // The path holds something else than a file, which is read as no answers.
    }
  }
}
