/** Targets of dumps: a whole tree of the caller's own, and nothing else, even if the pid passes to another process meanwhile. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ReqType } from '../../src/protocol/messages.ts';
import { binary, cannotShowHere, eventually, run } from '../system/support/bench.ts';
import { ourAddress } from '../system/support/client.ts';
import { endProcess, isAlive, statusLine } from '../system/support/proc.ts';
import { Target } from '../system/support/targets.ts';
import { Attacker, connection, hex } from './support/attacker.ts';
import {
  assertRefused,
  besideReference,
  dumpOf,
  endsAfter,
  it,
  needsSysResource,
  type Outcome,
  show,
} from './support/guarantee.ts';
import { as, directoryOf, privilegedProgram, startCounting, targetOf, uids } from './support/people.ts';

describe('a target of alice’s dump', () => {
  besideReference();

  show({
    guarantee: 'cannot be a process of root’s',
    carriedOut: (address) => dumpOf(targetOf('root'), 'alice', address),
    refused: /has the uid 0, and yours is 1500/,
    bites: true,
  });

  show({
    guarantee: 'cannot be a process of bob’s',
    carriedOut: (address) => dumpOf(targetOf('bob'), 'alice', address),
    refused: /has the uid 1501, and yours is 1500/,
    bites: needsSysResource,
  });

  show({
    guarantee: 'cannot be a setuid program that she started',
    carriedOut: (address) =>
      dumpOf(startCounting('alice', [], privilegedProgram('counter', 0o4755)), 'alice', address),
    refused: /has the uid 0, and yours is 1500/,
    bites: needsSysResource,
  });

  show({
    guarantee: 'cannot be a program with file capabilities that she started',
    carriedOut: (address) =>
      dumpOf(
        startCounting('alice', [], privilegedProgram('counter', 0o755, 'cap_net_raw+ep')),
        'alice',
        address,
      ),
    refused: /holds capabilities that you do not hold/,
    bites: needsSysResource,
  });

  show({
    guarantee: 'cannot be a setgid program that she started',
    carriedOut: (address) =>
      dumpOf(
        startCounting('alice', [], privilegedProgram('counter', 0o2755, undefined, uids.bob)),
        'alice',
        address,
      ),
    refused: /process \d+ of the tree has the gid 1501, and yours is 1500: .*sg, newgrp/,
    bites: needsSysResource,
  });

  show({
    guarantee: 'cannot be a tree of hers with a process of bob’s in it',
    carriedOut: (address) =>
      dumpOf(
        startCounting('root', [], binary('targets'), 'family', String(uids.alice), String(uids.bob)),
        'alice',
        address,
      ),
    refused: /process \d+ of the tree has the uid 1501/,
    bites: needsSysResource,
  });

  show({
    guarantee: 'cannot be a process of hers that is not dumpable',
    carriedOut: (address) =>
      dumpOf(startCounting('alice', [], binary('targets'), 'undumpable'), 'alice', address),
    // CRIU gives the reason in its log only; the kernel refused the tracing.
    refused: 'by the kernel',
    bites: needsSysResource,
  });

  show({
    guarantee: 'cannot be a process that took the pid of hers after the request was authorized',
    carriedOut: pidThatChangesHands,
    refused: 'by the kernel',
    bites: true,
  });

  // No bite for these: CRIU's own service would stop pid 1 of the machine that the tests run on, and no CRIU can dump a kernel
  // thread. The tests show the refusal, which names the process, and that nothing is frozen.
  it('cannot be pid 1', async () => {
    const { reply } = await dumpPid(1);
    assertRefused(reply, /process 1 of the tree has the uid 0/);
    assert.equal(statusLine(1, 'TracerPid'), '0');
  });

  it('cannot be a kernel thread', async function () {
    const thread = readdirSync('/proc').find(
      (pid) => /^\d+$/.test(pid) && statusLine(Number(pid), 'PPid') === '2',
    );
    if (thread === undefined) cannotShowHere(this, 'kernel threads are not seen in here');
    const { reply } = await dumpPid(Number(thread));
    assertRefused(reply, new RegExp(`process ${thread} of the tree has the uid 0`));
  });

  it('cannot be a pid without a process, or a group', async () => {
    for (const pid of [4_000_000, 0, -1, -uids.alice]) {
      const { reply } = await dumpPid(pid);
      assert.ok(reply !== 'closed' && reply.success === false, `${pid}: ${JSON.stringify(reply)}`);
    }
  });

  it('cannot be a process of hers with a child in its own user and pid namespace', async () => {
    const [file, ...argv] = as('alice');
    const target = run(
      file!,
      ...argv,
      'sh',
      '-c',
      'unshare --user --pid --fork sleep 1000 >/dev/null 2>&1 </dev/null & echo $!',
    );
    const pid = Number(target);
    try {
      await eventually('its namespace is there', () => childOf(pid) !== undefined);
      const { reply } = await dumpPid(pid);
      assertRefused(reply, /./);
      assert.ok(isAlive(pid));
    } finally {
      const child = childOf(pid);
      if (child !== undefined) endProcess(child);
      if (isAlive(pid)) endProcess(pid);
    }
  });
});

function childOf(pid: number): number | undefined {
  const child = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return child === '' ? undefined : Number(child);
}

async function dumpPid(pid: number): Promise<Pick<Outcome, 'reply'>> {
  const alice = new Attacker('alice');
  await alice.do('open', 10, 0, directoryOf('alice'));
  const reply = await alice.ask({ type: ReqType.DUMP, opts: { images_dir_fd: 10, pid } }, ourAddress);
  return { reply };
}

/** At the first notification the request has been authorized, and nothing is frozen yet. */
async function pidThatChangesHands(address: string): Promise<Outcome> {
  const first = targetOf('alice');
  const alice = new Attacker('alice');
  await alice.do('open', 10, 0, directoryOf('alice'));
  const opts = { images_dir_fd: 10, pid: first.pid, notify_scripts: true };
  const notified = await alice.ask({ type: ReqType.DUMP, opts }, address);
  assert.ok(notified !== 'closed' && notified.notify?.script === 'pre-dump', JSON.stringify(notified));
  await first.kill();
  const file = join(directoryOf('root'), 'count');
  let second: Target | undefined;
  await eventually('the pid is free', () => {
    try {
      second = new Target(Number(run(binary('targets'), 'at', String(first.pid), file)), file);
    } catch (error) {
      if (!String(error).includes('File exists')) throw error;
    }
    return second !== undefined;
  });
  const yes = hex({ type: ReqType.NOTIFY, notify_success: true });
  for (;;) {
    await alice.do('send', connection, yes);
    const reply = await alice.receive();
    if (reply === 'closed' || reply.type !== ReqType.NOTIFY) {
      await endsAfter(reply, second!);
      return { reply, succeeded: !second!.alive, survivor: second! };
    }
  }
}
