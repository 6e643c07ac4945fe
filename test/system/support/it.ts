/**
 * mocha's `it`, with a look at what is left behind after each test: a service that serves every request and keeps one
 * descriptor or one process of each is broken all the same, and so is one that leaves its capability to somebody, or ends
 * processes that no engine has made.
 */
import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { ReqType } from '../../../src/protocol/messages.ts';
import { eventually } from './bench.ts';
import { assertBystandersLiveOn, bystanderPids, startBystanders } from './bystanders.ts';
import { assertNobodyHolds, endHolders } from './capability.ts';
import { ask } from './client.ts';
import { childrenOf, isAlive, openFds, parentOf, processesNamed, waitsAhead } from './proc.ts';
import { referencePid } from './reference.ts';
import { assertNoTargetIsHeld, killTargets, presentTargets } from './targets.ts';
import { mainPid } from './unit.ts';

/** How many engines an idle service has started ahead (--engines-ahead). */
const ahead = 2;

/** What the service has of an engine that waits: a connection, a pidfd, and what it writes to stderr. */
const fdsOfEngine = 3;

/** The service that is looked at, and how many descriptors it had when it had served one request and was idle. */
let known: { pid: number; fds: number } | undefined;

export function it(title: string, body: (this: Mocha.Context) => Promise<void>): void {
  itElsewhere(title, async function () {
    await knowTheIdleService();
    const shared = presentTargets();
    try {
      await body.call(this);
      assertNoTargetIsHeld();
      // Before the targets are killed: they may be what holds it.
      await assertNobodyHolds(bystanderPids());
    } finally {
      await killTargets(shared);
    }
    await assertNothingIsLeft();
  });
}

/** For a test of something else than the service that runs: it must neither leave the capability behind nor harm anybody. */
export function itElsewhere(title: string, body: (this: Mocha.Context) => Promise<void> | void): void {
  global.it(title, async function () {
    await startBystanders();
    try {
      await body.call(this);
      await assertNobodyHolds(bystanderPids());
    } finally {
      // A test that follows is not to be blamed.
      await endHolders(bystanderPids());
    }
    await assertBystandersLiveOn();
  });
}

async function knowTheIdleService(): Promise<void> {
  if (known && isAlive(known.pid)) return;
  // What is loaded for the first request only (the log, for one) belongs to an idle service from then on.
  await ask({ type: ReqType.VERSION });
  const pid = mainPid();
  await allWait(pid);
  known = { pid, fds: await settled(() => openFds(pid).length) };
}

/** What a count comes to: the log opens its connection to the journal beside the event loop. */
export async function settled(count: () => number): Promise<number> {
  for (let last = -1; ; ) {
    const now = count();
    if (now === last) return now;
    last = now;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

/** Processes called criu that belong to no instance of CRIU's own service, and have a request. */
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

/** Waits until a service is idle, which is when its only children are the engines for the next requests. @returns those. */
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
  // A test may have stopped the service: the next one finds another.
  if (!known || !isAlive(known.pid)) return;
  const { pid, fds } = known;
  await eventually('the service has no child but engines that wait', () => {
    const waiting = waitingEngines(pid).length;
    return waiting >= ahead && childrenOf(pid).length === waiting;
  });
  // After a wave more of them wait for a while. What else is held is found when they have left, if not before.
  const mayHold = () => fds + fdsOfEngine * Math.max(0, waitingEngines(pid).length - ahead);
  try {
    await eventually('the service is idle', () => openFds(pid).length <= mayHold());
  } catch {
    const held = openFds(pid).map((fd) => `${fd} -> ${link(`/proc/${pid}/fd/${fd}`)}`);
    assert.fail(`the service holds more than the ${fds} descriptors it began with: ${held.join(', ')}`);
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return 'closed meanwhile';
  }
}
