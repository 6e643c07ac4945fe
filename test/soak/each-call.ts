/** SIGKILL between any two system calls of the service loses no request in flight. */
import assert from 'node:assert/strict';
import { ReqType } from '../../src/protocol/messages.ts';
import { it } from '../hostile/support/guarantee.ts';
import { run } from '../system/support/bench.ts';
import { ask } from '../system/support/client.ts';
import { allWait } from '../system/support/it.ts';
import { seed } from './seed.ts';
import { assertNothingIsLeft, rememberScopes } from './support/leftovers.ts';
import { Party } from './support/party.ts';
import { strikeAt } from './support/strike.ts';
import { judge, type Verdict } from './support/verdict.ts';

/** More calls than any request has: the limit ends a sweep whose service is never struck. */
const mostCalls = 500;

/** Fewer calls than any request has, so that each first call that is drawn is struck. */
const fewestCalls = 35;

/**
 * @param every the distance between the calls at which the service is killed. The first is drawn, so that all are reached over
 * many runs.
 */
export function eachCall(every: number): void {
  const first = 1 + (seed % Math.min(every, fewestCalls));
  describe('a service that is killed at a system call', () => {
    before(rememberScopes);
    for (const user of ['root', 'alice'] as const) {
      for (const what of ['dump', 'restore'] as const) {
        it(`completes a ${what} of ${user}, whichever call it is (every ${every} from ${first}, seed ${seed})`, async function () {
          // Each wait in the sweep has a limit of its own.
          this.timeout(0);
          const party = new Party(user);
          try {
            await sweep(party, what, first, every);
          } finally {
            await party.end();
          }
          await assertNothingIsLeft();
        });
      }
    }
  });
}

async function sweep(party: Party, what: 'dump' | 'restore', first: number, every: number): Promise<void> {
  const verdicts: Record<Verdict, number> = { right: 0, twice: 0, closed: 0, told: 0 };
  for (let call = first; ; call += every) {
    assert.ok(call <= mostCalls, 'there is no end to the calls of a request');
    if (party.runs !== (what === 'dump')) await carriedOut(party);
    const { verdict, struck } = await struckAt(call, party);
    if (!struck) {
      assert.ok(call > first, `it was never struck: the request has fewer than ${first} calls`);
      const { right, twice, closed } = verdicts;
      console.log(
        `      ${call} calls, ${(call - first) / every} of them struck; ${right} answered once, ${twice} twice, ${closed} closed before they were judged`,
      );
      return;
    }
    verdicts[verdict] += 1;
  }
}

/** Carries the next turn out without a strike. */
async function carriedOut(party: Party): Promise<void> {
  const turn = await party.nextTurn({ leaveRunning: false, notified: false });
  const verdict = await judge(party, turn, Date.now(), await party.ask(turn.request));
  assert.equal(verdict, 'right');
}

async function struckAt(call: number, party: Party): Promise<{ verdict: Verdict; struck: boolean }> {
  // Both engines of the pool wait, so that the same calls come in the same order each time.
  await ask({ type: ReqType.VERSION });
  await allWait();
  const turn = await party.nextTurn({ leaveRunning: false, notified: true });
  const sinceMs = Date.now();
  const disarm = await strikeAt(call);
  try {
    const replies = await party.ask(turn.request);
    const struck = await disarm();
    return { verdict: await judge(party, turn, sinceMs, replies), struck };
  } catch (error) {
    await disarm();
    const what = `${ReqType[turn.request.type]} of ${party.user}’s, killed at call ${call}`;
    console.log(`${what}; the journal since then:\n${journalSince(sinceMs)}`);
    throw new Error(`${what}: ${(error as Error).message}`, { cause: error });
  }
}

/** The messages of the service, systemd and the kernel. */
function journalSince(sinceMs: number): string {
  run('journalctl', '--sync');
  const since = `--since=@${(sinceMs / 1000).toFixed(3)}`;
  return run('journalctl', '--no-pager', '--output=short-monotonic', since);
}
