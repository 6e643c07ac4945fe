/**
 * Three walls stand between alice and the capability of an engine with the files that it opens: only root can open an engine, and
 * its capability is in effect for moments only; the files that a restored tree holds are examined before it runs; and the tree
 * runs only after its engine has exited. Each wall is shown alone, without the others. Without all of them both attacks succeed.
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
  /** The wall that is left. */
  readonly title: string;
  readonly without: readonly Wall[];
  /** The fate of other engines of hers, which may exist while a tree of hers runs. */
  readonly others: 'not taken over' | 'taken over, then ended' | 'taken over';
  readonly own: 'not taken over' | 'taken over';
  /** The file that she may only read. `not asked`: this wall does not concern it. */
  readonly mapped: 'not written' | 'written' | 'not asked';
}

const holds = { own: 'not taken over', others: 'not taken over', mapped: 'not written' } as const;

const services: readonly Service[] = [
  {
    title: 'whose engines run with the library, without the other walls',
    without: ['held', 'apart'],
    ...holds,
  },
  {
    title: 'whose engines have the capability asleep, without the other walls',
    without: ['undumpable', 'held', 'apart'],
    ...holds,
  },
  {
    title: 'whose engines only root can open, without the other walls',
    without: ['asleep', 'held', 'apart'],
    ...holds,
    mapped: 'not asked',
  },
  {
    title: 'that examines the files of a restored tree, without the other walls',
    without: ['asleep', 'undumpable', 'apart'],
    ...holds,
  },
  {
    title: 'that lets a tree run after its engine exited, without the other walls',
    without: ['asleep', 'undumpable', 'held'],
    own: 'not taken over',
    others: 'taken over, then ended',
    mapped: 'not asked',
  },
  {
    title: 'without any of these walls',
    without: ['asleep', 'undumpable', 'held', 'apart'],
    own: 'taken over',
    others: 'taken over',
    mapped: 'written',
  },
];

for (const { title, without, own, others, mapped } of services) {
  describe(`a service ${title}`, () => {
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

    /** @param how a description of the attempt. */
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

    it(`has an engine ${own} by the tree that it restores`, async () => {
      await judge(own, await takeOverOwnEngine(intruder));
    });

    for (const [doing, begin] of Object.entries(engines)) {
      it(`has another engine ${others} (it ${doing})`, async () => {
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
