/** A process of alice's that takes over the process into which its open files lead (clients/intruder.c). */
import { chmodSync, chownSync, copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeResponse } from '../../../src/protocol/codec.ts';
import type { CriuResp } from '../../../src/protocol/messages.ts';
import { binary, cannotShowHere, eventually, run } from '../../system/support/bench.ts';
import { endProcess } from '../../system/support/proc.ts';
import { replaceByLink } from './held.ts';
import { AlicesImages, unshackled } from './images.ts';
import { as, directoryOf, uids } from './people.ts';

/** The machine code is written for x86-64. */
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

  /** An intruder that was dumped with two files of alice's directory open. */
  static async make(): Promise<Intruder> {
    const directory = directoryOf('alice');
    const program = join(directory, 'intruder');
    copyFileSync(binary('intruder'), program);
    chmodSync(program, 0o755);
    // With the modes and the size of the files that replace them.
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

  /** From here on its files lead to those of another process. */
  aimAt(pid: number): void {
    for (const name of ['mem', 'maps']) replaceByLink(join(this.#directory, name), `/proc/${pid}/${name}`);
  }

  /** The message that a process which was taken over sends to the service in the engine's place. */
  reply(message: CriuResp): void {
    writeFileSync(join(this.#directory, 'reply'), encodeResponse(message), { mode: 0o644 });
  }

  /** Has the intruder write, if it runs. It may be frozen or missing. @returns its report. */
  async go(): Promise<string> {
    writeFileSync(join(this.#directory, 'go'), '');
    await eventually(
      'the intruder has done what it can',
      () => this.#result !== undefined || !this.images.runsFreely,
    );
    return this.#result ?? 'it did not run';
  }

  /** The pid of the process that the code in the victim executed. */
  get taken(): number | undefined {
    const path = join(this.#directory, 'taken');
    return existsSync(path) ? Number(readFileSync(path, 'utf8')) : undefined;
  }

  /** Whether that process got the capability from the victim, even if it has ended since. */
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
