/**
 * Stops what a user runs for the moment in which it is looked at: whoever forks without end outruns any reading of /proc, but not
 * its own cgroup's freezer (cgroup.freeze in Documentation/admin-guide/cgroup-v2.rst of the kernel).
 *
 * What is frozen is written down before, so that a service that is killed meanwhile leaves nobody frozen: the next start thaws it.
 */
import { appendFileSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isEngineCgroup, isEngineScope, ownCgroup, unifiedMount } from './engine-cgroup.ts';

/** What sleeps uninterruptibly does not count as frozen before it wakes up; until then it does nothing either. */
const settleMs = 200;
const pollMs = 1;

/** A user may nest cgroups of a unit as deep as there is a path for it; the unit itself is never as deep. */
const deepest = 32;

const marks = /^frozen-\d+$/;

/** How the freezer does without a kernel, in tests. */
export interface Cgroups {
  /** The uid of whoever owns the directory; undefined where there is none. */
  ownerOf(path: string): number | undefined;
  read(path: string, file: string): string;
  write(path: string, file: string, text: string): void;
  /** The service's own. */
  readonly own: string;
}

let nextMark = 1;

export class Freezer {
  readonly #mark: string | undefined;
  readonly #cgroups: Cgroups;
  readonly #frozen = new Set<string>();

  /** @param directory of root's, which outlives this service; without one nothing is ever frozen. */
  constructor(directory: string | undefined, cgroups: Cgroups = kernelsCgroups) {
    this.#mark = directory === undefined ? undefined : join(directory, `frozen-${nextMark++}`);
    this.#cgroups = cgroups;
  }

  /**
   * Freezes where a process of a user is, and wherever else it could have moved itself to from there.
   * @param path its cgroup.
   * @returns false where that cannot be had, or holds what must not stand still.
   */
  async freezeAround(path: string, uid: number): Promise<boolean> {
    try {
      const target = targetFor(path, uid, this.#cgroups);
      return target !== undefined && (await this.#freeze(target));
    } catch {
      // It was removed meanwhile: nobody is in it.
      return false;
    }
  }

  async #freeze(path: string): Promise<boolean> {
    if (this.#mark === undefined) return false;
    // Whoever else has frozen it thaws it, and may have thawed what was frozen here.
    if (!this.#isSet(path)) {
      appendFileSync(this.#mark, `${path}\n`, { mode: 0o600 });
      this.#frozen.add(path);
      this.#cgroups.write(path, 'cgroup.freeze', '1');
    }
    for (const start = performance.now(); performance.now() - start < settleMs; ) {
      if (/^frozen 1$/m.test(this.#cgroups.read(path, 'cgroup.events'))) break;
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
    return true;
  }

  #isSet(path: string): boolean {
    return this.#cgroups.read(path, 'cgroup.freeze').trim() === '1';
  }

  /** What was frozen by somebody else stays so. Never throws. */
  thaw(): void {
    for (const path of this.#frozen) thawOne(path, this.#cgroups);
    this.#frozen.clear();
    if (this.#mark !== undefined) rmSync(this.#mark, { force: true });
  }

  /** Thaws what an earlier start of this service has left frozen that was killed. @returns the cgroups. */
  static thawLeft(directory: string, cgroups: Cgroups = kernelsCgroups): string[] {
    const thawed: string[] = [];
    for (const name of readdirSync(directory).filter((each) => marks.test(each))) {
      const file = join(directory, name);
      for (const path of readFileSync(file, 'utf8').split('\n')) {
        if (path !== '' && thawOne(path, cgroups)) thawed.push(path);
      }
      rmSync(file, { force: true });
    }
    return thawed;
  }
}

/** @returns false where there is nothing to be thawed any more. */
function thawOne(path: string, cgroups: Cgroups): boolean {
  try {
    cgroups.write(path, 'cgroup.freeze', '0');
    return true;
  } catch {
    return false;
  }
}

/**
 * What is to be frozen around a process of a user. Pure but for who owns a cgroup.
 *
 * A scope of ours, or an engine's cgroup, as it is: its user cannot write it. Else the topmost cgroup that is that user's, which is
 * a unit that systemd has delegated (user@UID.service, for one): below it the user moves processes about without asking anybody.
 * Else where the process is, if that is in the slice of that user. Never what this service is in, nor anybody else's.
 */
export function targetFor(
  path: string,
  uid: number,
  cgroups: Pick<Cgroups, 'ownerOf' | 'own'>,
): string | undefined {
  const { own } = cgroups;
  if (isEngineScope(path) || isEngineCgroup(path)) return path;
  // Outside of the cgroup namespace of this service, which has no name for it.
  if (path.split('/').includes('..')) return undefined;
  let cgroup = '';
  for (const part of path.split('/').slice(1, 1 + deepest)) {
    cgroup += `/${part}`;
    if (cgroups.ownerOf(cgroup) === uid) return isWithin(own, cgroup) ? undefined : cgroup;
  }
  return isWithin(path, `/user.slice/user-${uid}.slice`) && !isWithin(own, path) ? path : undefined;
}

function isWithin(path: string, above: string): boolean {
  return path === above || path.startsWith(`${above}/`);
}

const kernelsCgroups: Cgroups = {
  ownerOf: (path) => statSync(join(unifiedMount(), path), { throwIfNoEntry: false })?.uid,
  read: (path, file) => readFileSync(join(unifiedMount(), path, file), 'latin1'),
  write: (path, file, text) => writeFileSync(join(unifiedMount(), path, file), text),
  get own() {
    return ownCgroup();
  },
};
