/** --action-script: programs that run at CRIU's steps, as criuctl's user. CRIU itself would run them as whoever it is. */
import { spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Notification } from '../client/notifications.ts';
import { exitCodes } from './exit-codes.ts';
import { type Invocation, Obstacle } from './invocation.ts';

/** CRIU runs no scripts for these: a program on an RPC connection answers them. */
const forPrograms: ReadonlySet<string> = new Set(['orphan-pts-master', 'query-ext-files']);

/** CRIU goes on after a failure at these, because the tree runs, or is about to (criu/cr-restore.c). */
const tooLate: ReadonlySet<string> = new Set(['pre-resume', 'post-resume', 'network-unlock']);

/** A script has failed, in the rest of a sentence that begins with the request. */
export class ScriptError extends Error {
  override readonly name = 'ScriptError';
}

export class ActionScripts {
  readonly #paths: readonly string[];
  readonly #images: string;
  readonly #signal: AbortSignal;
  readonly #warn: (sentence: string) => void;
  #root: number | undefined;

  /**
   * @param images the directory of the images, as the scripts can open it.
   * @returns undefined if there are none.
   * @throws Obstacle
   */
  static for(
    { own, options, signal }: Invocation,
    images: string,
    warn: (sentence: string) => void = toStandardError,
  ): ActionScripts | undefined {
    if (own.actionScripts.length === 0) return undefined;
    const paths = own.actionScripts.map((path) => resolve(path));
    for (const path of paths) requireProgram(path);
    return new ActionScripts(paths, images, signal, warn, options.pid);
  }

  private constructor(
    paths: readonly string[],
    images: string,
    signal: AbortSignal,
    warn: (sentence: string) => void,
    root: number | undefined,
  ) {
    this.#paths = paths;
    this.#images = images;
    this.#signal = signal;
    this.#warn = warn;
    this.#root = root;
  }

  /** Runs all scripts one by one. @throws ScriptError if a script failed, and CRIU can still undo its work. */
  async run({ script: action, pid }: Notification): Promise<void> {
    if (pid) this.#root = pid;
    if (forPrograms.has(action)) return;
    const failures: string[] = [];
    for (const path of this.#paths) {
      const failure = await this.#execute(path, action);
      if (failure !== undefined) failures.push(`the script ${path} ${failure} at ${action}`);
    }
    if (failures.length === 0) return;
    const sentence = failures.join('; ');
    if (!tooLate.has(action)) throw new ScriptError(sentence);
    this.#warn(sentence);
  }

  /** @returns the rest of a sentence about a failure. */
  #execute(path: string, action: string): Promise<string | undefined> {
    return new Promise((settle) => {
      const child = spawn(path, {
        env: {
          ...process.env,
          CRTOOLS_SCRIPT_ACTION: action,
          CRTOOLS_IMAGE_DIR: this.#images,
          ...(this.#root === undefined ? {} : { CRTOOLS_INIT_PID: `${this.#root}` }),
        },
        // Standard output is for the result alone.
        stdio: ['ignore', 2, 2],
        signal: this.#signal,
      });
      child.once('error', (error) => settle(`could not be run (${error.message})`));
      child.once('close', (code, signal) => {
        if (signal !== null) settle(`was ended by ${signal}`);
        else settle(code === 0 ? undefined : `ended with status ${code}`);
      });
    });
  }
}

function toStandardError(sentence: string): void {
  process.stderr.write(`criuctl: warning: ${sentence}\n`);
}

function requireProgram(path: string): void {
  try {
    accessSync(path, constants.X_OK);
    if (statSync(path).isFile()) return;
  } catch (error) {
    throw new Obstacle(
      exitCodes.usage,
      `The script ${path} cannot be run: ${(error as Error).message.split(', ')[0]}`,
    );
  }
  throw new Obstacle(exitCodes.usage, `The script ${path} is no file`);
}
