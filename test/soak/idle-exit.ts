/** An idle service that exits loses no request. */
import assert from 'node:assert/strict';
import { ReqType } from '../../src/protocol/messages.ts';
import { random } from '../support/random.ts';
import { eventually, inVm, run } from '../system/support/bench.ts';
import { itElsewhere } from '../system/support/it.ts';
import { processesNamed } from '../system/support/proc.ts';
import { withSettings } from '../system/support/settings.ts';
import { mainPid, show } from '../system/support/unit.ts';
import { seed } from './seed.ts';
import { Party } from './support/party.ts';

/** Longer than the checks between two requests take. */
const idleMs = inVm ? 3000 : 300;

/**
 * The spread of requests around the moment of the exit, and the step that seeks this moment: after a request that was too late it
 * moves a step earlier, after any other request a step later. So about half of the requests meet a running service.
 */
const [marginMs, stepMs] = inVm ? [100, 50] : [20, 5];

export function idleExit(count: number): void {
  describe('an idle service that exits', () => {
    withSettings(
      'ExecStart=',
      `ExecStart=/usr/lib/criu-service/criu-service --idle-timeout ${idleMs / 1000}`,
    );

    // Not `it`, which checks a service that stays.
    itElsewhere(
      `loses no request that comes at the moment of the exit (${count} rounds, seed ${seed})`,
      async function () {
        // Each wait in the test has a limit of its own.
        this.timeout(0);
        const next = random(seed);
        const parties = [new Party('root'), new Party('alice')] as const;
        let anew = 0;
        try {
          let due = idleMs;
          let replied = await answered(parties[0], 'the first request');
          for (let round = 0; round < count; round += 1) {
            const moment = due + (next() * 2 - 1) * marginMs;
            const party = parties[Math.floor(next() * 2)]!;
            const ask = next() < 0.5 ? answered : dumped;
            const before = mainPid();
            const left = replied + moment - performance.now();
            await new Promise((resolve) => setTimeout(resolve, left));
            replied = await ask(party, `round ${round}, ${party.user} after ${moment.toFixed(1)} ms`);
            const late = mainPid() !== before;
            if (late) anew += 1;
            due += late ? -stepMs : stepMs;
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
      },
    );
  });
}

/** @returns the time of the answer, by {@link performance.now}. */
async function answered(party: Party, where: string): Promise<number> {
  const replies = await party.ask({ type: ReqType.VERSION });
  const replied = performance.now();
  assert.deepEqual([replies.length, replies[0]?.success], [1, true], `${where}: ${JSON.stringify(replies)}`);
  return replied;
}

async function dumped(party: Party, where: string): Promise<number> {
  const turn = await party.nextTurn({ leaveRunning: true, notified: false });
  const replies = await party.ask(turn.request);
  const replied = performance.now();
  assert.deepEqual([replies.length, replies[0]?.success], [1, true], `${where}: ${JSON.stringify(replies)}`);
  await party.done(turn, replies[0]!);
  return replied;
}
