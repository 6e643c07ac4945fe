/** A kill, restart or stop of the service at any moment loses no request in flight. */
import assert from 'node:assert/strict';
import { ReqType } from '../../src/protocol/messages.ts';
import { it } from '../hostile/support/guarantee.ts';
import { random } from '../support/random.ts';
import { seed } from './seed.ts';
import { type Way, wayNames, ways } from './support/gone.ts';
import { assertNothingIsLeft, rememberScopes } from './support/leftovers.ts';
import { Party } from './support/party.ts';
import { judge, type Verdict } from './support/verdict.ts';

/** The limit of tries for each answer: it ends a run whose service never answers. */
const triesForEach = 10;

/**
 * The range of the moment at which the service begins to go, after the request was sent, in units of the request's undisturbed
 * duration. It begins before the request, because systemctl takes its time, and because requests before judgement count, too.
 */
const [earliest, latest] = [-0.8, 1.2];

export function restarts(count: number): void {
  describe('a service that is killed, restarted or stopped at any moment', () => {
    before(rememberScopes);
    it(`answers each dump and restore correctly, and leaves nothing (${count} requests, seed ${seed})`, async function () {
      // Each wait in the soak has a limit of its own.
      this.timeout(0);
      const soak = new Restarts(seed);
      try {
        await soak.measure();
        await soak.run(count);
      } finally {
        await soak.end();
      }
      await assertNothingIsLeft();
    });
  });
}

class Restarts {
  readonly #next: () => number;
  readonly #parties = [new Party('root'), new Party('alice')] as const;
  /** The duration of an undisturbed request, in milliseconds, by type. */
  readonly #quietMs = new Map<number, number>();
  readonly #answered: Record<Way, number> = { killed: 0, restarted: 0, stopped: 0 };
  readonly #verdicts: Record<Verdict, number> = { right: 0, twice: 0, closed: 0, told: 0 };

  constructor(start: number) {
    this.#next = random(start);
  }

  /** Measures a dump and a restore of each party. */
  async measure(): Promise<void> {
    for (const party of [...this.#parties, ...this.#parties]) {
      const turn = await party.nextTurn({ leaveRunning: false, notified: true });
      const start = performance.now();
      const replies = await party.ask(turn.request);
      this.#quietMs.set(turn.request.type, performance.now() - start);
      await judge(party, turn, Date.now(), replies);
    }
  }

  async run(count: number): Promise<void> {
    for (let tries = 0; this.#heard < count && tries < count * triesForEach; tries += 1)
      await this.#try(tries);
    const { twice, closed, told } = this.#verdicts;
    const hows = wayNames.map((way) => `${this.#answered[way]} ${way}`).join(', ');
    console.log(`      ${this.#heard} right replies (${hows}), ${twice} of them passed on twice;`);
    console.log(`      not judged yet, and asked again: ${closed} closed, ${told} told so`);
    assert.equal(this.#heard, count, 'too few were heard');
  }

  async end(): Promise<void> {
    for (const party of this.#parties) await party.end();
  }

  get #heard(): number {
    return this.#verdicts.right + this.#verdicts.twice;
  }

  async #try(number: number): Promise<void> {
    const party = this.#pick(this.#parties);
    const way = this.#pick(wayNames);
    const manner = { leaveRunning: this.#next() < 0.3, notified: this.#next() < 0.5 };
    const turn = await party.nextTurn(manner);
    const { type } = turn.request;
    const moment = (earliest + this.#next() * (latest - earliest)) * this.#quietMs.get(type)!;
    try {
      const sinceMs = Date.now();
      const asked = after(-moment).then(() => party.ask(turn.request));
      const gone = after(moment).then(ways[way]);
      const [replies] = await Promise.all([asked, gone]);
      const verdict = await judge(party, turn, sinceMs, replies);
      this.#verdicts[verdict] += 1;
      if (verdict === 'right' || verdict === 'twice') this.#answered[way] += 1;
    } catch (error) {
      const { message } = error as Error;
      const what = `${ReqType[type]} of ${party.user}’s, ${way} after ${moment.toFixed(1)} ms`;
      throw new Error(`try ${number}, ${what}: ${message}`, { cause: error });
    }
  }

  #pick<T>(of: readonly T[]): T {
    return of[Math.floor(this.#next() * of.length)]!;
  }
}

function after(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}
