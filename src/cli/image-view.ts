/** A directory that shows images with some files of its own, and links to all others. The images themselves stay as they are. */
import { mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export class ImageView {
  readonly path: string;

  /**
   * @param work where the directory is made.
   * @param own makes the files that differ, by their names; it gets the path of the view.
   * @returns undefined if `own` does.
   * @throws errors of node:fs if the work directory cannot be written; CRIU could not write its log either.
   */
  static make(
    images: string,
    work: string,
    own: (path: string) => ReadonlyMap<string, Uint8Array> | undefined,
  ): ImageView | undefined {
    const view = new ImageView(mkdtempSync(join(realpathSync(work), '.criuctl-images-')));
    try {
      const files = own(view.path);
      if (files) view.#fill(realpathSync(images), files);
      else view.remove();
      return files && view;
    } catch (error) {
      view.remove();
      throw error;
    }
  }

  private constructor(path: string) {
    this.path = path;
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }

  #fill(source: string, files: ReadonlyMap<string, Uint8Array>): void {
    for (const name of readdirSync(source)) {
      if (files.has(name)) continue;
      if (name.endsWith('.img') || name === 'parent') symlinkSync(join(source, name), join(this.path, name));
    }
    for (const [name, bytes] of files)
      writeFileSync(join(this.path, name), bytes, { flag: 'wx', mode: 0o600 });
  }
}
