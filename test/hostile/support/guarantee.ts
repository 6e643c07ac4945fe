/**
 * An attack, carried out twice: on the service, where it must fail, and on CRIU's own service, where it must succeed. An attack
 * that succeeds nowhere shows nothing.
 */
import assert from 'node:assert/strict';
import { type CriuOpts, type CriuResp, ReqType } from '../../../src/protocol/messages.ts';
import { cannotShowHere } from '../../system/support/bench.ts';
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
  /** Looked at in the world, not in the reply: the file is written, the process was dumped. */
  readonly succeeded: boolean;
  /** Somebody who must not notice. */
  readonly survivor?: Target;
}

export interface Attack {
  /** What holds, as a sentence about the service. */
  readonly guarantee: string;
  /** Called afresh for each of the two services. */
  readonly carriedOut: (this: Mocha.Context, address: string) => Promise<Outcome>;
  /**
   * The reply of our service: refused with a sentence; a failure of CRIU's, whose reply has none, because the kernel refused
   * what it tried; or served, but not as the attacker meant it.
   */
  readonly refused: RegExp | 'by the kernel' | 'no: served';
  /** Whether it is to be shown on CRIU's own service; where it is not, the table says why in a comment. */
  readonly bites: boolean | ((context: Mocha.Context) => void);
}

/** CRIU's own service runs beside ours while the suite does. */
export function besideReference(): void {
  before(startReference);
  after(stopReference);
}

/** As the system tests' own; attackers end with their test, and so does what they have let loose to show that an attack bites. */
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

/** A reply that says no and why. */
export function assertRefused(reply: CriuResp | 'closed', sentence: RegExp): void {
  assert.ok(reply !== 'closed', 'there was no reply');
  assert.equal(reply.success, false, JSON.stringify(reply));
  assert.match(reply.cr_errmsg ?? '', sentence);
}

/** The service is there for others, whatever somebody does to it. */
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

/** Asks for a dump of somebody into a directory of one's own. Who was dumped is gone. */
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
  return { reply, succeeded: !target.alive, survivor: target };
}

/** Without it root may not read the limits of another user's process, and CRIU as root gives up. */
export function needsSysResource(context: Mocha.Context): void {
  const effective = BigInt(`0x${statusLine(process.pid, 'CapEff')}`);
  if ((effective & (1n << 24n)) === 0n) {
    cannotShowHere(context, 'root lacks CAP_SYS_RESOURCE here, and cannot dump processes of others');
  }
}
