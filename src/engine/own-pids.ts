/**
 * The pids that this service itself holds: its threads, the engines that wait, launchers and engines at work. A restored process
 * may need one of them. Then the service gives it up, as far as it can, and the restore is tried once more.
 *
 * The caller of a restore decides which pid it needs, and so which waiting engine is let go. Each costs others the start of an
 * engine, as each restore does anyway, and the pace bounds it.
 */
import { existsSync, readFileSync } from 'node:fs';
import type { UserKey } from '../proc/connection-user.ts';
import { statusField } from '../proc/status.ts';
import type { EnginePool } from './engine-pool.ts';
import { Pace } from './pace.ts';

/** So many times at once for each user, then once in ten seconds. */
const burst = 4;
const perSecond = 0.1;

/** The time for an engine or a thread to end. Launchers and engines that wait take some milliseconds. */
const patienceMs = 10_000;
const lookAgainMs = 10;

/** The holder of a pid: a thread of this service, an engine or a helper of it, or nothing any more. */
export type OwnHolder = 'thread' | 'engine' | 'gone';

export class OwnPids {
  readonly #pool: EnginePool;
  readonly #pace = new Pace<UserKey>(burst, perSecond);
  readonly #patienceMs: number;

  constructor(pool: EnginePool, patience = patienceMs) {
    this.#pool = pool;
    this.#patienceMs = patience;
  }

  /** @returns undefined if a process that is not of this service has the pid. */
  holderOf(pid: number): OwnHolder | undefined {
    if (existsSync(`/proc/self/task/${pid}`)) return 'thread';
    const parent = parentOf(pid);
    if (parent === undefined) return 'gone';
    // CRIU makes helpers that live as long as an engine.
    return parent === process.pid || parentOf(parent) === process.pid ? 'engine' : undefined;
  }

  /** True if the service may give a pid up for this user now. Each call counts. */
  mayGiveWay(user: UserKey): boolean {
    const now = performance.now();
    if (this.#pace.waitMs(user, now) > 0) return false;
    this.#pace.take(user, now);
    return true;
  }

  #has(pid: number): boolean {
    const holder = this.holderOf(pid);
    return holder === 'thread' || holder === 'engine';
  }

  /** Lets a waiting engine with this pid go, and waits for a while until nothing of this service has the pid. */
  async giveWay(pid: number): Promise<void> {
    this.#pool.letGoOf(pid);
    const until = performance.now() + this.#patienceMs;
    while (this.#has(pid) && performance.now() < until)
      await new Promise((resolve) => setTimeout(resolve, lookAgainMs));
  }
}

/** Engines of an earlier start are not recognized: their parent has gone. @returns undefined if there is no such process. */
function parentOf(pid: number): number | undefined {
  try {
    return Number(statusField(readFileSync(`/proc/${pid}/status`, 'latin1'), 'PPid'));
  } catch {
    return undefined;
  }
}
