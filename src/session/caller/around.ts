/** The obstacles that the surroundings of a target's processes are: the first with each consequence, however large its tree is. */
import { type Consequence, type Obstacle, obstaclesAround } from '../../policy/comes-back.ts';
import type { CallerReader } from '../../proc/caller-reader.ts';
import type { Surroundings } from '../../proc/surroundings.ts';

export class Around {
  readonly #callerPid: number;
  readonly #first = new Map<Consequence, Obstacle>();
  #caller: Surroundings | undefined;

  constructor(callerPid: number) {
    this.#callerPid = callerPid;
  }

  get obstacles(): readonly Obstacle[] {
    return [...this.#first.values()];
  }

  /** Reads processes; the caller comes first of all. Never rejects: what cannot be read is an obstacle (fails closed). */
  async read(
    reader: Pick<CallerReader, 'surroundingsOf'>,
    uid: number,
    pids: readonly number[],
  ): Promise<void> {
    try {
      for await (const read of reader.surroundingsOf(uid, pids)) this.#compare(read);
    } catch (error) {
      const what = `cannot be looked at: ${(error as Error).message}`;
      this.#note({ pid: pids.at(-1)!, consequence: 'no-dump', what, remedy: 'ask again' });
    }
  }

  #compare(read: readonly Surroundings[]): void {
    this.#caller ??= read[0];
    const caller = this.#caller;
    if (caller?.pid !== this.#callerPid) throw new Error(`process ${this.#callerPid} has gone`);
    for (const process of read) for (const obstacle of obstaclesAround(process, caller)) this.#note(obstacle);
  }

  #note(obstacle: Obstacle): void {
    if (!this.#first.has(obstacle.consequence)) this.#first.set(obstacle.consequence, obstacle);
  }
}
