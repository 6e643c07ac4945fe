/** A service that leaves when it has nothing to do takes nobody's request along. */
import assert from 'node:assert/strict';
import { ReqType } from '../../src/protocol/messages.ts';
import { random } from '../support/random.ts';
import { eventually, run } from '../system/support/bench.ts';
import { isAlive, processesNamed } from '../system/support/proc.ts';
import { withSettings } from '../system/support/settings.ts';
import { mainPid, show } from '../system/support/unit.ts';
import { seed } from './seed.ts';
import { Party } from './support/party.ts';

const idleMs = 300;

/** The moments that requests come at lie this far before and after the service is due to leave, and has left. */
const marginMs = 30;

export function idleExit(count: number): void {
  describe('a service that leaves because it has nothing to do', () => {
    withSettings(
      'ExecStart=',
      `ExecStart=/usr/lib/criu-service/criu-service --idle-timeout ${idleMs / 1000}`,
    );

    // Not the suite's own, which looks at a service that stays.
    it(`loses no request that comes at just that moment (${count} rounds, seed ${seed})`, async function () {
      // Each wait in it has a limit of its own.
      this.timeout(0);
      const next = random(seed);
      const parties = [new Party('root'), new Party('alice')] as const;
      let anew = 0;
      try {
        const goneMs = await untilGone(parties[0]);
        for (let round = 0; round < count; round += 1) {
          const before = mainPid();
          const moment = idleMs - marginMs + next() * (goneMs - idleMs + 2 * marginMs);
          const party = parties[Math.floor(next() * 2)]!;
          const probe = next() < 0.5;
          await new Promise((resolve) => setTimeout(resolve, moment));
          const where = `round ${round}, ${party.user} after ${moment.toFixed(1)} ms`;
          if (probe) await answered(party, where);
          else await dumped(party, where);
          if (mainPid() !== before) anew += 1;
        }
        console.log(`      ${count} answered, ${anew} of them by a service that was started for them`);
      } finally {
        for (const party of parties) await party.end();
      }
      assert.equal(run('systemctl', 'is-active', 'criu.socket').trim(), 'active');
      assert.equal(show('criu.service', 'Result').Result, 'success');
      await eventually(
        'no process of ours is left',
        () => mainPid() === 0 && processesNamed('criu').length === 0,
      );
    });
  });
}

/** How long after an answer the service has left, in milliseconds. */
async function untilGone(party: Party): Promise<number> {
  await answered(party, 'the first request');
  const start = performance.now();
  const pid = mainPid();
  await eventually('the service has left', () => !isAlive(pid));
  return performance.now() - start;
}

async function answered(party: Party, where: string): Promise<void> {
  const replies = await party.ask({ type: ReqType.VERSION });
  assert.deepEqual([replies.length, replies[0]?.success], [1, true], `${where}: ${JSON.stringify(replies)}`);
}

async function dumped(party: Party, where: string): Promise<void> {
  const turn = await party.nextTurn({ leaveRunning: true, notified: false });
  const replies = await party.ask(turn.request);
  assert.deepEqual([replies.length, replies[0]?.success], [1, true], `${where}: ${JSON.stringify(replies)}`);
  await party.done(turn, replies[0]!);
}
