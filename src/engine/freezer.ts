/**
 * Freezes a user's processes while they are examined: a user that forks without end outruns any reading of /proc, but not the
 * freezer of its own cgroup (cgroup.freeze in Documentation/admin-guide/cgroup-v2.rst of the kernel).
 *
 * Write-ahead: each cgroup is recorded before it is frozen. If this service is killed in between, the next start thaws it.
 */
import { appendFileSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isEngineCgroup, isNested, isTreeCgroup, ownCgroup, unifiedMount } from './our-cgroups.ts';

/** A task in uninterruptible sleep counts as frozen only after it wakes up; until then it does nothing either. */
const settleMs = 200;
const pollMs = 1;

/** A user may nest cgroups of a unit as deep as a path allows; the unit itself is never so deep. */
const deepest = 32;

const marks = /^frozen-\d+$/;

/** The freezer's access to the kernel, replaced in tests. */
export interface Cgroups {
  /** The uid of the directory's owner; undefined if there is no directory. */
  ownerOf(path: string): number | undefined;
  read(path: string, file: string): string;
  write(path: string, file: string, text: string): void;
  /** The service's own cgroup. */
  readonly own: string;
}

let nextMark = 1;

export class Freezer {
  readonly #mark: string | undefined;
  readonly #cgroups: Cgroups;
  readonly #frozen = new Set<string>();

  /** @param directory of root's, which outlives this service; without a directory nothing is ever frozen. */
  constructor(directory: string | undefined, cgroups: Cgroups = kernelsCgroups) {
    this.#mark = directory === undefined ? undefined : join(directory, `frozen-${nextMark++}`);
    this.#cgroups = cgroups;
  }

  /**
   * Freezes the cgroup of a user's process, and all other cgroups that the process could have moved itself to.
   * @param path the cgroup of the process.
   * @returns false if freezing is impossible, or would freeze processes that must keep running.
   */
  async freezeAround(path: string, uid: number): Promise<boolean> {
    try {
      const target = targetFor(path, uid, this.#cgroups);
      return target !== undefined && (await this.#freeze(target));
    } catch {
      // The cgroup was removed, so it was empty.
      return false;
    }
  }

  async #freeze(path: string): Promise<boolean> {
    if (this.#mark === undefined) return false;
    // If another process has frozen the cgroup, leave the thawing to that process. Check this each time, because the other
    // process may have thawed a cgroup that was frozen here.
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

  /** Thaws only cgroups that were frozen here. Never throws. */
  thaw(): void {
    for (const path of this.#frozen) thawOne(path, this.#cgroups);
    this.#frozen.clear();
    if (this.#mark !== undefined) rmSync(this.#mark, { force: true });
  }

  /** Thaws cgroups that a killed earlier start of this service has left frozen. @returns the cgroups. */
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

/** @returns false if the cgroup has gone. */
function thawOne(path: string, cgroups: Cgroups): boolean {
  try {
    cgroups.write(path, 'cgroup.freeze', '0');
    return true;
  } catch {
    return false;
  }
}

/**
 * Chooses the cgroup to freeze around a user's process. Pure, except for asking the owners of cgroups.
 *
 * A cgroup of ours is frozen as it is: its user cannot write it. Otherwise, and above a cgroup of ours that lies in such a unit, it is
 * the topmost cgroup that the user owns, a unit that systemd has delegated (user@UID.service, for example): below it the user can
 * move processes freely. Otherwise it is the process's own cgroup, if that is in the user's slice. A cgroup that contains this service, or that belongs
 * to another user, is never frozen.
 */
export function targetFor(
  path: string,
  uid: number,
  cgroups: Pick<Cgroups, 'ownerOf' | 'own'>,
): string | undefined {
  const { own } = cgroups;
  const isOurs = isTreeCgroup(path) || isEngineCgroup(path);
  if (isOurs && !isNested(path)) return path;
  // The cgroup is outside of this service's cgroup namespace, and has no path there.
  if (path.split('/').includes('..')) return undefined;
  let cgroup = '';
  for (const part of path.split('/').slice(1, 1 + deepest)) {
    cgroup += `/${part}`;
    if (cgroups.ownerOf(cgroup) === uid) return isWithin(own, cgroup) ? undefined : cgroup;
  }
  if (isOurs) return path;
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
