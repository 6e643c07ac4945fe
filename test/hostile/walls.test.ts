/**
 * Three walls stand between alice and the capability of an engine, and what it opens: engines are nobody's to open, and hold the
 * capability in effect for a moment; what a restored tree holds is looked at before it runs; and it runs when its engine has gone. Each is
 * shown alone, with the others taken away; and without any of them both attacks succeed, which is what the walls are for.
 */
import assert from 'node:assert/strict';
import { eventually } from '../system/support/bench.ts';
import { isAlive } from '../system/support/proc.ts';
import { type Wall, withoutWalls } from '../system/support/walls.ts';
import { it } from './support/guarantee.ts';
import { Intruder, needsX64 } from './support/intruder.ts';
import { endMapped, mappedKinds, writeThrough } from './support/mappings.ts';
import { takeOver, takeOverOwnEngine, victims } from './support/takeover.ts';

/** A page server holds no capability that could be taken. */
const { 'waits for pages': _, ...engines } = victims;

interface Service {
  /** Which wall is left. */
  readonly what: string;
  readonly without: readonly Wall[];
  /** What becomes of other engines of hers, which may be there while a tree of hers runs. */
  readonly others: 'not taken over' | 'ended with what it executes' | 'taken over';
  readonly own: 'not taken over' | 'taken over';
  /** What she may only read. `not asked`: it is nothing to this wall. */
  readonly mapped: 'not written' | 'written' | 'not asked';
}

const holds = { own: 'not taken over', others: 'not taken over', mapped: 'not written' } as const;

const services: readonly Service[] = [
  { what: 'whose engines are run with the library, and no more', without: ['held', 'apart'], ...holds },
  {
    what: 'whose engines have the capability asleep, and no more',
    without: ['undumpable', 'held', 'apart'],
    ...holds,
  },
  {
    what: 'whose engines are nobody’s to open, and no more',
    without: ['asleep', 'held', 'apart'],
    ...holds,
    mapped: 'not asked',
  },
  {
    what: 'that looks at what a restored tree holds, and no more',
    without: ['asleep', 'undumpable', 'apart'],
    ...holds,
  },
  {
    what: 'that lets a tree run when its engine has gone, and no more',
    without: ['asleep', 'undumpable', 'held'],
    own: 'not taken over',
    others: 'ended with what it executes',
    mapped: 'not asked',
  },
  {
    what: 'without any of these walls',
    without: ['asleep', 'undumpable', 'held', 'apart'],
    own: 'taken over',
    others: 'taken over',
    mapped: 'written',
  },
];

for (const { what, without, own, others, mapped } of services) {
  describe(`a service ${what}`, () => {
    withoutWalls(...without);

    let intruder: Intruder;
    beforeEach(async function () {
      needsX64(this);
      intruder = await Intruder.make();
    });
    afterEach(async () => {
      await intruder?.end();
      endMapped();
    });

    /** @param how what is known of the attempt. */
    async function judge(outcome: Service['others'], how: string): Promise<void> {
      const { taken } = intruder;
      if (outcome === 'not taken over') {
        assert.equal(taken, undefined, how);
        return;
      }
      assert.equal(intruder.holdsCapability, true, `the attack does not bite: ${how}`);
      if (outcome === 'taken over') await intruder.end();
      else await eventually('what was executed has ended', () => !isAlive(taken!));
    }

    it(`has the engine ${own} that restores the tree which writes into it`, async () => {
      await judge(own, await takeOverOwnEngine(intruder));
    });

    for (const [doing, begin] of Object.entries(engines)) {
      it(`has an engine ${others} that ${doing}`, async () => {
        await judge(others, await takeOver(intruder, begin));
      });
    }

    if (mapped === 'not asked') return;
    for (const kind of mappedKinds) {
      for (const how of ['open', 'map'] as const) {
        it(`has ${kind.what} ${mapped} by alice (${how === 'open' ? 'an open file' : 'a mapping'})`, async () => {
          const { written, said } = await writeThrough(kind, how);
          assert.equal(written, mapped === 'written', said);
        });
      }
    }
  });
}
