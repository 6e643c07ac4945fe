/**
 * mocha's `it`, with a check for leftovers after each test: a service is broken if it serves every request and keeps a descriptor
 * or a process of each, if it leaves its capability in another process, or if it ends processes that no engine made.
 */
import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { ReqType } from '../../../src/protocol/messages.ts';
import { eventually } from './bench.ts';
import { assertBystandersLiveOn, bystanderPids, startBystanders } from './bystanders.ts';
import { assertNobodyHolds, endHolders } from './capability.ts';
import { ask } from './client.ts';
import { assertAllIsTold } from './journal.ts';
import { childrenOf, isAlive, openFds, parentOf, processesNamed, waitsAhead } from './proc.ts';
import { referencePid } from './reference.ts';
import { assertNoTargetIsHeld, killTargets, presentTargets } from './targets.ts';
import { mainPid, show } from './unit.ts';

/** The number of engines that an idle service has started ahead (--engines-ahead). */
const ahead = 2;

/** The service's descriptors of a waiting engine: a connection, a pidfd, and its stderr. */
export const fdsOfEngine = 3;

/** The service under test, and its number of descriptors when it was idle after a request. */
let known: { pid: number; fds: number } | undefined;

export function it(title: string, body: (this: Mocha.Context) => Promise<void>): void {
  itElsewhere(title, async function () {
    await knowTheIdleService();
    const shared = presentTargets();
    try {
      await body.call(this);
      assertNoTargetIsHeld();
      // Before the targets are killed: they may hold the capability.
      await assertNobodyHolds(bystanderPids());
    } finally {
      await killTargets(shared);
    }
    await assertNothingIsLeft();
  });
}

/** For a test of other programs than the running service: it must neither leave the capability behind nor harm bystanders. */
export function itElsewhere(title: string, body: (this: Mocha.Context) => Promise<void> | void): void {
  global.it(title, async function () {
    await startBystanders();
    try {
      await body.call(this);
      await assertNobodyHolds(bystanderPids());
    } finally {
      // The next test is not to blame.
      await endHolders(bystanderPids());
    }
    await assertBystandersLiveOn();
  });
}

async function knowTheIdleService(): Promise<void> {
  if (known && isAlive(known.pid)) return;
  known = undefined;
  // Files that the service opens for its first request belong to an idle service from then on.
  await ask({ type: ReqType.VERSION });
  // So does the log's connection to the journal, which another thread opens.
  await assertAllIsTold();
  const pid = mainPid();
  try {
    await allWait(pid);
    known = { pid, fds: await settled(() => openFds(pid).length) };
  } catch (error) {
    // A service that has left because nobody asked it (--idle-timeout) keeps nothing.
    const { MainPID, Result } = show('criu.service', 'MainPID', 'Result');
    if (MainPID !== '0' || Result !== 'success') throw error;
  }
}

/** The value at which a count settles. */
export async function settled(count: () => number): Promise<number> {
  for (let last = -1; ; ) {
    const now = count();
    if (now === last) return now;
    last = now;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

/** Processes called criu with a request that do not belong to CRIU's own service. */
export function engines(): number[] {
  const reference = referencePid();
  return processesNamed('criu').filter(
    (pid) => pid !== reference && parentOf(pid) !== reference && !waitsAhead(pid),
  );
}

/** The engines that the service has started ahead. */
export function waitingEngines(pid: number = mainPid()): number[] {
  return childrenOf(pid).filter(waitsAhead);
}

/** Waits until a service is idle: then its only children are the engines for the next requests. @returns those. */
export async function allWait(pid: number = mainPid()): Promise<number[]> {
  await eventually(
    `${ahead} engines wait, and nothing else is there`,
    () => childrenOf(pid).length === ahead && waitingEngines(pid).length === ahead,
  );
  return waitingEngines(pid);
}

async function assertNothingIsLeft(): Promise<void> {
  await eventually(`no engine is left (${engines()})`, () => engines().length === 0);
  const lent = readdirSync(tmpdir()).filter((name) => name.startsWith('criu-check-'));
  assert.deepEqual(lent, [], 'a directory that was lent is left');
  // A test may have stopped the service: the next test starts another.
  if (!known || !isAlive(known.pid)) return;
  const { pid, fds } = known;
  await eventually(
    'the service has no child but engines that wait',
    orGone(pid, () => {
      const waiting = waitingEngines(pid).length;
      return waiting >= ahead && childrenOf(pid).length === waiting;
    }),
  );
  // After a wave more of them wait for a while. What else is held is found when they have left, if not before.
  const mayHold = () => fds + fdsOfEngine * Math.max(0, waitingEngines(pid).length - ahead);
  try {
    await eventually(
      'the service is idle',
      orGone(pid, () => openFds(pid).length <= mayHold()),
    );
  } catch {
    const held = openFds(pid).map((fd) => `${fd} -> ${link(`/proc/${pid}/fd/${fd}`)}`);
    assert.fail(`the service holds more than the ${fds} descriptors it began with: ${held.join(', ')}`);
  }
}

/** A service may leave while it is looked at (--idle-timeout): then it keeps nothing. */
function orGone(pid: number, condition: () => boolean): () => boolean {
  return () => {
    try {
      return condition();
    } catch (error) {
      if (isAlive(pid)) throw error;
      return true;
    }
  };
}

export function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return 'closed meanwhile';
  }
}
