/** Callers and trees with very many tasks: reading them delays their owner only. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { maxUserPacketBytes } from '../../src/native/limits.ts';
import { decodeResponse, encodeRequest } from '../../src/protocol/codec.ts';
import { ReqType } from '../../src/protocol/messages.ts';
import { binary, eventually } from '../system/support/bench.ts';
import { ourAddress } from '../system/support/client.ts';
import { cgroupOf, statusLine } from '../system/support/proc.ts';
import { referenceAddress } from '../system/support/reference.ts';
import type { Target } from '../system/support/targets.ts';
import { show } from '../system/support/unit.ts';
import { Attacker, connection, endAttackers, hex } from './support/attacker.ts';
import { assertRefused, assertServed, besideReference, it } from './support/guarantee.ts';
import { LyingEngine } from './support/lying-engine.ts';
import { directoryOf, startCounting, targetOf, uids } from './support/people.ts';

describe('a caller with thousands of threads', () => {
  it('is refused, and other users are served meanwhile', async () => {
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, directoryOf('alice'));
    await alice.do('threads', 2000);
    await alice.connect(ourAddress);
    await alice.send({ type: ReqType.CPUINFO_DUMP, opts: { images_dir_fd: 10 } });
    await assertServed('bob');
    assertRefused(await alice.receive(), /2001 threads is not served; the limit is 1024/);
  });

  it('is served with hundreds of threads, like any other', async () => {
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, directoryOf('alice'));
    await alice.do('threads', 200);
    const request = { type: ReqType.CPUINFO_DUMP, opts: { images_dir_fd: 10 } };
    const reply = await alice.ask(request, ourAddress);
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
  });
});

describe('a process of alice’s with thousands of threads that come and go', () => {
  besideReference();

  const [threads, atOnce, rounds] = [6000, 4, 3];
  /**
   * An answer of ours may take as long as so many answers of CRIU's own service, which forks for each request and knows nothing
   * of alice.
   */
  const mostBehind = 400;

  // Judged by the order of events, not by a clock: other load on the machine delays CRIU's own service, too.
  it('blocks alice alone while the service searches for leftovers of her engines', async () => {
    const crowd = new Attacker('alice');
    await crowd.do('threads', threads);
    await crowd.do('churn', 8);
    let [theirs, since, most, ours, busy] = [0, 0, 0, 0, true];
    const others = askUntil(
      () => !busy,
      referenceAddress,
      () => {
        theirs += 1;
      },
    );
    const bobs = askUntil(
      () => !busy,
      ourAddress,
      () => {
        most = Math.max(most, theirs - since);
        since = theirs;
        ours += 1;
      },
    );
    try {
      for (let round = 0; round < rounds; round += 1)
        await Promise.all(Array.from({ length: atOnce }, check));
    } finally {
      busy = false;
      await Promise.all([others, bobs]);
    }
    console.log(`      ${ours} answers, ${theirs} of the other service; at most ${most} during one of ours`);
    assert.ok(most <= mostBehind, `CRIU’s own service has answered ${most} times before bob had one answer`);
  });

  async function askUntil(done: () => boolean, address: string, answered: () => void): Promise<void> {
    const bob = new Attacker('bob');
    while (!done()) {
      const reply = await bob.ask({ type: ReqType.VERSION }, address);
      assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
      await bob.do('close', connection);
      answered();
    }
  }

  async function check(): Promise<void> {
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, directoryOf('alice'));
    const reply = await alice.ask({ type: ReqType.CHECK, opts: { images_dir_fd: 10 } }, ourAddress);
    assert.notEqual(reply, 'closed');
    await alice.end();
  }
});

describe('a tree of a thousand tasks', () => {
  /** A thousand tasks of alice's. The process that is read last is bob's, so that the reading ends with a refusal. */
  function forest(): Target {
    const [alice, bob] = [String(uids.alice), String(uids.bob)];
    return startCounting('root', [], binary('targets'), 'forest', '10', '100', bob, alice);
  }

  // Judged by the order of events, not by a clock: bob has two answers before alice has hers. A service that reads without
  // interruption gives bob one answer at most, while it still reads alice's own process. A single round in which bob overtakes
  // her is enough.
  it('is read in between the requests of other users', async () => {
    const tree = forest();
    const roots = targetOf('root');
    let overtaken = false;
    for (let round = 0; round < 50 && !overtaken; round += 1) {
      const [alice, bob] = [new Attacker('alice'), new Attacker('bob')];
      for (const each of [alice, bob]) await each.do('open', 10, 0, '/');
      await alice.connect(ourAddress);
      const opts = { images_dir_fd: 10, pid: tree.pid, leave_running: true };
      await alice.send({ type: ReqType.DUMP, opts });
      for (let asked = 0; asked < 2; asked += 1) {
        // Refused without an engine, so that only the service has work to do for bob.
        const request = { type: ReqType.DUMP, opts: { images_dir_fd: 10, pid: roots.pid } };
        assertRefused(await bob.ask(request, ourAddress), /has the uid 0/);
      }
      overtaken = (await alice.do('pending', connection)) === '0';
      assertRefused(await alice.receive(), /process \d+ of the tree has the uid 1501/);
      await alice.end();
      await bob.end();
    }
    assert.ok(overtaken, 'bob was never served before the tree was read');
    await tree.assertCountsOn();
  });
});

describe('a hundred requests of alice’s that wait for an engine, each of the maximum size', () => {
  const residentKiB = (pid: number): number => Number(/\d+/.exec(statusLine(pid, 'VmRSS') ?? '')?.[0]);

  // The bite: with packets of 1 MiB of 65,000 entries each, kept as decoded, the service grows by 700 MB.
  it('cost the service a few megabytes; requests above the limit are told so, and bob is served', async () => {
    const engine = await LyingEngine.start();
    try {
      const { address, unit } = engine.service;
      const service = Number(show(unit, 'MainPID').MainPID);
      // These engines take their request and wait for more.
      engine.says('receive', 'receive');
      const alice = new Attacker('alice');
      await alice.do('open', 10, 0, directoryOf('alice'));
      const opts = { images_dir_fd: 10, external: Array.from({ length: 256 }, () => '') };
      const short = encodeRequest({ type: ReqType.CPUINFO_DUMP, opts });
      const long = encodeRequest({
        type: ReqType.CPUINFO_DUMP,
        opts: { ...opts, log_file: 'x'.repeat(maxUserPacketBytes - short.length - 8) },
      });
      assert.ok(long.length > maxUserPacketBytes - 16 && long.length <= maxUserPacketBytes);
      const ask = async (number: number, bytes: Uint8Array): Promise<void> => {
        await alice.do('connect', number, address);
        await alice.do('send', number, hex(bytes));
      };
      const connections = Array.from({ length: 120 }, (_, index) => 100 + index);
      const [held, waiting] = [connections.slice(0, 16), connections.slice(16)];
      for (const number of held) await ask(number, short);
      const cgroup = `/sys/fs/cgroup${cgroupOf(alice.pid)}`;
      const engines = (): number =>
        readdirSync(cgroup).filter((name) => name.startsWith('criu-engine-')).length;
      await eventually('her engines are there', () => engines() === held.length);
      const before = residentKiB(service);
      for (const number of waiting) await ask(number, long);
      const bob = new Attacker('bob');
      await bob.do('open', 10, 0, '/');
      const roots = targetOf('root');
      const request = { type: ReqType.DUMP, opts: { images_dir_fd: 10, pid: roots.pid } };
      assertRefused(await bob.ask(request, address), /has the uid 0/);
      // Each caller is read before its request counts, so that bob's answer may come before theirs.
      const answered = async (): Promise<number[]> => {
        const there: number[] = [];
        for (const number of waiting) if ((await alice.do('pending', number)) !== '0') there.push(number);
        return there;
      };
      let answers = await answered();
      for (let look = 0; look < 2000 && answers.length < waiting.length - 17; look += 1) {
        await sleep(100);
        answers = await answered();
      }
      const told = [];
      for (const number of answers) {
        const decoded = decodeResponse(Buffer.from(await alice.do('receive', number), 'hex'), 'strict');
        assert.ok(decoded.kind === 'response');
        told.push(decoded.message.cr_errmsg);
      }
      assert.ok(told.length >= waiting.length - 17, `${told.length} were told`);
      for (const sentence of told) assert.match(sentence ?? '', /your requests that wait for an engine/);
      const grown = residentKiB(service) - before;
      console.log(`      (${waiting.length} requests of ${long.length} bytes: ${grown} KiB more)`);
      assert.ok(grown < 100_000, `${grown} KiB more`);
    } finally {
      await endAttackers();
      engine.service.stop();
    }
  });
});

describe('restores of nothing, as fast as alice can ask', () => {
  // The bite: without a pace each restore becomes a scope within a second or two. An emulated machine takes a second for each.
  const many = 50;
  it('reach systemd at a limited pace, and bob is served meanwhile', async () => {
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, directoryOf('alice'));
    const restore = encodeRequest({ type: ReqType.RESTORE, opts: { images_dir_fd: 10 } });
    const since = performance.now();
    const connections = Array.from({ length: many }, (_, index) => 100 + index);
    for (const number of connections) {
      await alice.do('connect', number, ourAddress);
      await alice.do('send', number, hex(restore));
    }
    await assertServed('bob');
    for (const number of connections) {
      const decoded = decodeResponse(Buffer.from(await alice.do('receive', number), 'hex'), 'strict');
      assert.ok(decoded.kind === 'response' && !decoded.message.success, JSON.stringify(decoded));
      assert.doesNotMatch(decoded.message.cr_errmsg ?? '', /ask again/);
    }
    // The pace: the last restores are due no earlier.
    const seconds = (performance.now() - since) / 1000;
    assert.ok(seconds >= (many - 32) / 10 - 0.1, `${seconds} s`);
  });
});
