/** A process of alice's that holds a file of hers, which is exchanged before CRIU opens it for her again (clients/holder.c). */
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { binary, eventually, run } from '../../system/support/bench.ts';
import { isAlive } from '../../system/support/proc.ts';
import { AlicesImages, unshackled } from './images.ts';
import { as, directoryOf, uids } from './people.ts';

/** The number of its descriptor in that process. */
export const heldDescriptor = 10;

/** CRIU compares these with the file that it opens. */
export interface Shape {
  /** Includes the type of the file. */
  readonly mode: number;
  readonly size: number;
}

export type How = 'open' | 'map' | 'cwd';

export class Held {
  readonly images: AlicesImages;
  readonly #path: string;

  private constructor(path: string, images: AlicesImages) {
    this.#path = path;
    this.images = images;
  }

  /** @param flags of open(2). */
  static async make(how: How, flags: number, { mode, size }: Shape): Promise<Held> {
    const path = join(directoryOf('alice'), 'held');
    if ((mode & 0o170000) === 0o040000) run('mkdir', path);
    else writeFileSync(path, Buffer.alloc(size));
    chownSync(path, uids.alice, uids.alice);
    // As the owner alice may open it, whatever its mode is.
    chmodSync(path, 0o700);
    const argv = [...as('alice', ...unshackled()), binary('holder'), how, String(flags), path, path];
    const pid = Number(run(argv[0]!, ...argv.slice(1)));
    chmodSync(path, mode & 0o7777);
    return new Held(path, await AlicesImages.of(pid));
  }

  /** Puts a link in place of the file. */
  replaceBy(target: string): void {
    replaceByLink(this.#path, target);
  }

  /**
   * Has the process write into the file that it holds. @returns the errno, 0 after a success, or undefined if the process does
   * not run.
   */
  async write(): Promise<number | undefined> {
    writeFileSync(`${this.#path}.go`, '');
    const result = `${this.#path}.result`;
    await eventually('it has tried', () => existsSync(result) || !this.images.runsFreely);
    return existsSync(result) ? Number(readFileSync(result, 'utf8')) : undefined;
  }

  get alive(): boolean {
    return isAlive(this.images.pid);
  }
}

/** Puts a link of alice's in place of a file of hers. */
export function replaceByLink(path: string, target: string): void {
  rmSync(path, { recursive: true });
  symlinkSync(target, path);
  lchownSync(path, uids.alice, uids.alice);
}
