/**
 * The loan of a relayed request, with which the request means the same to the engine as to its caller: copies of the caller's
 * descriptors, the caller's pid, a directory for a log. All of it is released together, with the final record.
 */
import { constants, mkdtempSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readErrorLines } from '../../engine/engine-log.ts';
import type { EngineFd } from '../../engine/privileged.ts';
import { native, type OwnedFd } from '../../native/binding.ts';
import type { RelayPlan } from '../../policy/authorize.ts';
import type { Caller } from '../../proc/caller.ts';
import { appendOverrides, type Overrides, replaceOptions } from '../../protocol/rewrite.ts';
import { writtenByOthers } from './shared-directory.ts';

/** The request names a descriptor that its caller does not have. */
export class BadDescriptorError extends Error {
  override readonly name = 'BadDescriptorError';
}

export class Loan {
  /** Copies for the engine's own descriptor table, under the caller's numbers. */
  readonly engineFds: readonly EngineFd[];
  readonly #plan: RelayPlan;
  readonly #overrides: Overrides;
  readonly #fds: OwnedFd[] = [];
  /** The service's copies of the directories that the request names. */
  readonly #directories = new Map<string, OwnedFd>();
  readonly #startedAt = Date.now();
  #lentDirectory: string | undefined;

  /**
   * @param caller undefined if the plan needs nothing of the caller.
   * @throws BadDescriptorError, NativeError
   */
  constructor(caller: Caller | undefined, plan: RelayPlan) {
    this.#plan = plan;
    try {
      const overrides: { -readonly [K in keyof Overrides]: Overrides[K] } = {};
      if (plan.pid !== undefined) overrides.pid = plan.pid;
      // A confined engine opens or copies these itself, with the caller's rights.
      const copied = plan.openedBy === 'service' ? plan.peerFds : [];
      for (const { field, callerNumber } of copied) {
        const copy = this.#copy(caller, field, callerNumber);
        this.#directories.set(field, copy);
        overrides[field] = copy.number;
      }
      if (plan.lendLogDirectory) overrides.images_dir_fd = this.#lendDirectory().number;
      this.#overrides = overrides;
      const placed = plan.openedBy === 'service' ? plan.engineFds : [];
      this.engineFds = placed.map((number) => ({
        source: this.#copy(caller, 'descriptor', number),
        target: number,
      }));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * The bytes for the engine. For a fully privileged caller: its own bytes, followed by fields that override some of them. For
   * any other caller: a fresh encoding of exactly the fields that were authorized.
   * @param opened the descriptor numbers of the files that a confined engine opened.
   */
  rewrite(original: Buffer, opened: Overrides = {}): Buffer {
    const { fresh } = this.#plan;
    const overrides = { ...this.#overrides, ...opened };
    const overridden = Object.keys(overrides).length > 0;
    if (!overridden) return fresh ?? original;
    return fresh ? replaceOptions(fresh, overrides) : appendOverrides(original, overrides);
  }

  /** The kernel's name of the images directory, if the service holds a copy of it. */
  get imagesDir(): string | undefined {
    return this.#nameOf(this.#directories.get('images_dir_fd'));
  }

  /** The same of the directory where CRIU writes its log. */
  get logDirectory(): string | undefined {
    return this.#nameOf(this.#logDirectory);
  }

  get #logDirectory(): OwnedFd | undefined {
    return this.#directories.get('work_dir_fd') ?? this.#directories.get('images_dir_fd');
  }

  #nameOf(copy: OwnedFd | undefined): string | undefined {
    try {
      return copy && readlinkSync(`/proc/self/fd/${copy.number}`);
    } catch {
      // A path longer than a page has no name (ENAMETOOLONG).
      return undefined;
    }
  }

  /** A sentence about the first copied directory that others can write; undefined without such a directory. */
  get sharedDirectory(): string | undefined {
    for (const [field, name] of [
      ['images_dir_fd', 'images directory'],
      ['work_dir_fd', 'work directory'],
    ] as const) {
      const copy = this.#directories.get(field);
      const how = copy && writtenByOthers(copy);
      if (how !== undefined) return `its ${name} ${how}`;
    }
    return undefined;
  }

  /**
   * Ends the loan with the final record.
   * @param failed CRIU's log is read first.
   * @returns error lines of that log, if it lies in a copied directory; undefined if the request has not failed.
   */
  end(failed: boolean): Promise<readonly string[]> | undefined {
    const lines = failed ? this.logLines() : undefined;
    const close = (): void => this.close();
    if (lines) lines.then(close, close);
    else close();
    return lines;
  }

  /** Error lines of CRIU's log, if it lies in a copied directory. */
  async logLines(): Promise<readonly string[]> {
    const directory = this.#logDirectory;
    return directory ? readErrorLines(directory, this.#plan.logFile, this.#startedAt) : [];
  }

  close(): void {
    for (const fd of this.#fds.splice(0)) fd.close();
    if (this.#lentDirectory !== undefined) rmSync(this.#lentDirectory, { recursive: true, force: true });
    this.#lentDirectory = undefined;
  }

  /**
   * Uses pidfd_getfd(2) instead of opening /proc/PID/fd/N: it is bound to the process, and it copies the descriptor. Opening the
   * file again would block on a FIFO.
   */
  #copy(caller: Caller | undefined, what: string, number: number): OwnedFd {
    let fd: OwnedFd;
    try {
      if (!caller) throw new Error('it was not looked at');
      fd = native.pidfdGetfd(caller.pidfd, number);
    } catch (error) {
      throw new BadDescriptorError(
        `${what} ${number} is no descriptor of the caller (${(error as Error).message})`,
        {
          cause: error,
        },
      );
    }
    this.#fds.push(fd);
    return fd;
  }

  #lendDirectory(): OwnedFd {
    this.#lentDirectory = mkdtempSync(join(tmpdir(), 'criu-check-'));
    const fd = native.open(this.#lentDirectory, constants.O_RDONLY | constants.O_DIRECTORY);
    this.#fds.push(fd);
    return fd;
  }
}
