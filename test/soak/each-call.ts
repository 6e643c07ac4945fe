/** Nothing in flight is lost where it could be lost most easily: between two system calls of the service. */
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

/** More than any request has, so that a service which is never struck does not go on for ever. */
const mostCalls = 500;

/** Somewhat fewer than any request has, so that one call is struck, whichever is drawn. */
const fewestCalls = 35;

/** @param every how far the calls are apart that it is killed at; the first is drawn, so that runs reach all of them. */
export function eachCall(every: number): void {
  const first = 1 + (seed % Math.min(every, fewestCalls));
  describe('a service that is killed at a system call', () => {
    before(rememberScopes);
    for (const user of ['root', 'alice'] as const) {
      for (const what of ['dump', 'restore'] as const) {
        it(`carries a ${what} of ${user}’s through, whichever call it is (every ${every} from ${first}, seed ${seed})`, async function () {
          // Each wait in it has a limit of its own.
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

/** By nobody disturbed. */
async function carriedOut(party: Party): Promise<void> {
  const turn = await party.nextTurn({ leaveRunning: false, notified: false });
  const verdict = await judge(party, turn, Date.now(), await party.ask(turn.request));
  assert.equal(verdict, 'right');
}

async function struckAt(call: number, party: Party): Promise<{ verdict: Verdict; struck: boolean }> {
  // Both its engines wait, so that each time the same calls come in the same order.
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

/** Of the service, systemd and the kernel. */
function journalSince(sinceMs: number): string {
  run('journalctl', '--sync');
  const since = `--since=@${(sinceMs / 1000).toFixed(3)}`;
  return run('journalctl', '--no-pager', '--output=short-monotonic', since);
}
