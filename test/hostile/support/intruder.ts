/** A process of alice's that takes another one over, if what it has open leads into that (clients/intruder.c). */
import { chmodSync, chownSync, copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeResponse } from '../../../src/protocol/codec.ts';
import type { CriuResp } from '../../../src/protocol/messages.ts';
import { binary, cannotShowHere, eventually, run } from '../../system/support/bench.ts';
import { endProcess } from '../../system/support/proc.ts';
import { replaceByLink } from './held.ts';
import { AlicesImages, unshackled } from './images.ts';
import { as, directoryOf, uids } from './people.ts';

/** The code that is written is for one processor. */
export function needsX64(context: Mocha.Context): void {
  if (process.arch !== 'x64') cannotShowHere(context, 'the code that takes an engine over is for x86-64');
}

export class Intruder {
  readonly images: AlicesImages;
  readonly #directory: string;

  private constructor(directory: string, images: AlicesImages) {
    this.#directory = directory;
    this.images = images;
  }

  /** Dumped, with two files open that are what she has written into her directory. */
  static async make(): Promise<Intruder> {
    const directory = directoryOf('alice');
    const program = join(directory, 'intruder');
    copyFileSync(binary('intruder'), program);
    chmodSync(program, 0o755);
    // Of the modes and the size of what will be in their place.
    for (const [name, mode] of [
      ['mem', 0o600],
      ['maps', 0o444],
    ] as const) {
      writeFileSync(join(directory, name), '');
      chmodSync(join(directory, name), mode);
      chownSync(join(directory, name), uids.alice, uids.alice);
    }
    const [file, ...argv] = [...as('alice', ...unshackled()), program, 'hold'];
    return new Intruder(directory, await AlicesImages.of(Number(run(file!, ...argv))));
  }

  /** From here on its files are those of another process. */
  aimAt(pid: number): void {
    for (const name of ['mem', 'maps']) replaceByLink(join(this.#directory, name), `/proc/${pid}/${name}`);
  }

  /** What a process that was taken over says to the service in the place of the engine. */
  reply(message: CriuResp): void {
    writeFileSync(join(this.#directory, 'reply'), encodeResponse(message), { mode: 0o644 });
  }

  /** Has it write, if it runs. It may be frozen, or there may be none. @returns what it says of it. */
  async go(): Promise<string> {
    writeFileSync(join(this.#directory, 'go'), '');
    await eventually(
      'the intruder has done what it can',
      () => this.#result !== undefined || !this.images.runsFreely,
    );
    return this.#result ?? 'it did not run';
  }

  /** The pid of what was executed in the place of somebody else. */
  get taken(): number | undefined {
    const path = join(this.#directory, 'taken');
    return existsSync(path) ? Number(readFileSync(path, 'utf8')) : undefined;
  }

  /** It was executed by somebody who had the capability, and has it now, whether or not it was ended since. */
  get holdsCapability(): boolean {
    const path = join(this.#directory, 'holds');
    return existsSync(path) && readFileSync(path, 'utf8') !== '0\n';
  }

  async end(): Promise<void> {
    if (this.taken !== undefined) endProcess(this.taken);
    await this.images.end();
  }

  get #result(): string | undefined {
    const path = join(this.#directory, 'result');
    return existsSync(path) ? readFileSync(path, 'utf8').trim() : undefined;
  }
}
