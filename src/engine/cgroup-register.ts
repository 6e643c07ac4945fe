/**
 * The cgroups that this service has made below those of its callers. Each is written down before it is made (write-ahead), so that
 * a start of the service after a kill knows them, and takes no other cgroup for its own: their users may own the cgroup above, and
 * give any name to theirs.
 *
 * A file for each cgroup, with its name, in a directory of root's; the content is the path.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type CgroupKind, nestedKind } from './cgroup-names.ts';

export type NestedKind = CgroupKind | 'apart';

export class CgroupRegister {
  #directory: string | undefined;
  readonly #kinds = new Map<string, NestedKind>();

  /**
   * Reads the register of earlier starts.
   * @param directory a directory of root that outlives this service; undefined: the register ends with the service.
   */
  open(directory: string | undefined): void {
    if (directory === undefined) return;
    this.#directory = join(directory, 'cgroups');
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(this.#directory)) {
      const path = readFileSync(join(this.#directory, name), 'utf8');
      const kind = nestedKind(name);
      if (kind !== undefined && isPath(path) && basename(path) === name) this.#kinds.set(path, kind);
      // The earlier start was killed while it wrote the file, and had not made the cgroup.
      else rmSync(join(this.#directory, name), { force: true });
    }
  }

  /** Call this before the cgroup is made. @throws TypeError unless its name is one of ours. */
  add(path: string): void {
    const kind = nestedKind(basename(path));
    if (kind === undefined) throw new TypeError(`${path} has no name of this service's`);
    if (this.#directory !== undefined)
      writeFileSync(join(this.#directory, basename(path)), path, { mode: 0o600 });
    this.#kinds.set(path, kind);
  }

  /** Call this when the cgroup was removed. */
  remove(path: string): void {
    if (!this.#kinds.delete(path) || this.#directory === undefined) return;
    rmSync(join(this.#directory, basename(path)), { force: true });
  }

  /** Undefined for any other cgroup. */
  kindOf(path: string): NestedKind | undefined {
    return this.#kinds.get(path);
  }

  /** The paths of these kinds. */
  of(...kinds: readonly NestedKind[]): string[] {
    return [...this.#kinds].filter(([, kind]) => kinds.includes(kind)).map(([path]) => path);
  }
}

function isPath(text: string): boolean {
  return text.startsWith('/') && !text.split('/').includes('..');
}

/** The register of this service. */
export const cgroupRegister = new CgroupRegister();
