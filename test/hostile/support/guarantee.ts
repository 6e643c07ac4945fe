/**
 * Attacks, each carried out twice: against the service, where it must fail, and against CRIU's own service, where it must
 * succeed. An attack that succeeds nowhere proves nothing.
 */
import assert from 'node:assert/strict';
import { type CriuOpts, type CriuResp, ReqType } from '../../../src/protocol/messages.ts';
import { cannotShowHere, eventually } from '../../system/support/bench.ts';
import { ourAddress } from '../../system/support/client.ts';
import { it as systemIt } from '../../system/support/it.ts';
import { statusLine } from '../../system/support/proc.ts';
import { referenceAddress, startReference, stopReference } from '../../system/support/reference.ts';
import type { Target } from '../../system/support/targets.ts';
import { Attacker, endAttackers } from './attacker.ts';
import { endUnguarded } from './images.ts';
import { directoryOf, targetOf, type User } from './people.ts';

export interface Outcome {
  readonly reply: CriuResp | 'closed';
  /** Read from the system, not from the reply: the file was written, the process was dumped. */
  readonly succeeded: boolean;
  /** A process that must not be affected. */
  readonly survivor?: Target;
}

export interface Attack {
  /** The guarantee, as a sentence about the service. */
  readonly guarantee: string;
  /** Called afresh for each of the two services. */
  readonly carriedOut: (this: Mocha.Context, address: string) => Promise<Outcome>;
  /**
   * The reply of our service: refused with a sentence; or a failure of CRIU's, without a sentence, because the kernel refused; or
   * served, in a way that gives the attacker nothing.
   */
  readonly refused: RegExp | 'by the kernel' | 'no: served';
  /** Whether the attack is also carried out on CRIU's own service; if false, a comment in the table says why. */
  readonly bites: boolean | ((context: Mocha.Context) => void);
}

/** Runs CRIU's own service beside ours during the suite. */
export function besideReference(): void {
  before(startReference);
  after(stopReference);
}

/**
 * Like the system tests' `it`; attackers end with their test, and so do processes restored unguarded to show that an attack
 * bites.
 */
export function it(title: string, body: (this: Mocha.Context) => Promise<void>): void {
  systemIt(title, async function () {
    try {
      await body.call(this);
    } finally {
      await endAttackers();
      await endUnguarded();
    }
  });
}

export function show({ guarantee, carriedOut, refused, bites }: Attack): void {
  it(guarantee, async function () {
    const { reply, succeeded, survivor } = await carriedOut.call(this, ourAddress);
    assert.equal(succeeded, false, `The attack succeeded: ${JSON.stringify(reply)}`);
    if (refused instanceof RegExp) assertRefused(reply, refused);
    else assert.equal(reply !== 'closed' && reply.success, refused === 'no: served', JSON.stringify(reply));
    await survivor?.assertCountsOn();
    await assertServed('bob');
  });
  if (bites === false) return;
  it(`${guarantee} (CRIU’s own service does not do so)`, async function () {
    if (typeof bites === 'function') bites(this);
    const { reply, succeeded } = await carriedOut.call(this, referenceAddress);
    assert.equal(succeeded, true, `The attack does not bite: ${JSON.stringify(reply)}`);
  });
}

/** Requires a reply that refuses with this sentence. */
export function assertRefused(reply: CriuResp | 'closed', sentence: RegExp): void {
  assert.ok(reply !== 'closed', 'there was no reply');
  assert.equal(reply.success, false, JSON.stringify(reply));
  assert.match(reply.cr_errmsg ?? '', sentence);
}

/** Requires that the service still serves this user. */
export async function assertServed(user: 'alice' | 'bob', address = ourAddress): Promise<void> {
  const target = targetOf(user);
  const other = new Attacker(user);
  await other.do('open', 10, 0, directoryOf(user));
  const reply = await other.ask(
    { type: ReqType.DUMP, opts: { images_dir_fd: 10, pid: target.pid, leave_running: true } },
    address,
  );
  assert.ok(reply !== 'closed' && reply.success, `${user} is not served: ${JSON.stringify(reply)}`);
  await other.end();
  await target.kill();
}

/** After the success of a dump one of these targets ends: CRIU has killed it, and it may take a moment. */
export async function endsAfter(reply: CriuResp | 'closed', ...targets: Target[]): Promise<void> {
  if (reply === 'closed' || !reply.success) return;
  await eventually('what was dumped ends', () => targets.some((target) => !target.alive));
}

/** Asks for a dump of the target into a directory of the attacker's. A dumped target is gone. */
export async function dumpOf(
  target: Target,
  by: User,
  address: string,
  opts: Partial<CriuOpts> = {},
): Promise<Outcome> {
  const attacker = new Attacker(by);
  await attacker.do('open', 10, 0, directoryOf(by));
  const reply = await attacker.ask(
    { type: ReqType.DUMP, opts: { images_dir_fd: 10, pid: target.pid, ...opts } },
    address,
  );
  if (!opts.leave_running) await endsAfter(reply, target);
  return { reply, succeeded: !target.alive, survivor: target };
}

/** Without CAP_SYS_RESOURCE root may not read the limits of another user's process, and CRIU as root gives up. */
export function needsSysResource(context: Mocha.Context): void {
  const effective = BigInt(`0x${statusLine(process.pid, 'CapEff')}`);
  if ((effective & (1n << 24n)) === 0n) {
    cannotShowHere(context, 'root lacks CAP_SYS_RESOURCE here, and cannot dump processes of others');
  }
}
