/** Engines that were started ahead of their request, and stored answers: with real CRIU, the caller sees no difference. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { decodeResponse, encodeResponse } from '../../src/protocol/codec.ts';
import { ReqType } from '../../src/protocol/messages.ts';
import { eventually, freshDirectory, run } from './support/bench.ts';
import { ask, withOpen } from './support/client.ts';
import { Instance } from './support/instance.ts';
import { allWait, it, waitingEngines } from './support/it.ts';
import { endProcess, isAlive, processesNamed, statusLine } from './support/proc.ts';
import { Target } from './support/targets.ts';
import { mainPid } from './support/unit.ts';

const configuration = '/etc/criu/default.conf';
const keptAnswers = '/run/criu-service/answers.json';

async function dump(target: Target, address?: string, leave_running = true): Promise<boolean> {
  return withOpen([freshDirectory()], async (fd) => {
    const opts = { images_dir_fd: fd, pid: target.pid, leave_running };
    return (await ask({ type: ReqType.DUMP, opts }, address)).success;
  });
}

/** Waits until engines have exited that the test knows by their pids only. */
async function assertLeaves(pids: readonly number[]): Promise<void> {
  await eventually(`the engines ${pids} leave`, () => !pids.some(isAlive));
}

describe('engines that were started ahead', () => {
  it('serve one request each, and are replaced', async () => {
    const before = await allWait();
    assert.equal(await dump(Target.start()), true);
    const used = before.filter((pid) => !waitingEngines().includes(pid));
    assert.equal(used.length, 1);
    await assertLeaves(used);
    assert.equal((await allWait()).filter((pid) => before.includes(pid)).length, before.length - 1);
  });

  it('are root’s, and hold only their stdio and their connection', async () => {
    for (const pid of await allWait()) {
      assert.equal(statusLine(pid, 'Uid'), '0\t0\t0\t0');
      assert.equal(readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0')[0]?.startsWith('PATH='), true);
    }
  });

  it('may be killed while they wait, and the next request succeeds', async () => {
    const target = Target.start();
    for (let i = 0; i < 3; i += 1) {
      // No pause: when the request comes they may be about to exit, have exited, or be replaced.
      for (const pid of await allWait()) endProcess(pid);
      assert.equal(await dump(target), true);
    }
    await target.assertCountsOn();
  });

  it('may be killed before they read a restore, which is then carried out once', async () => {
    const target = Target.start();
    const images = freshDirectory();
    await withOpen([images], async (fd) => {
      assert.equal(
        (await ask({ type: ReqType.DUMP, opts: { images_dir_fd: fd, pid: target.pid } })).success,
        true,
      );
      await target.assertGone();
      const waiting = await allWait();
      for (const pid of waiting) process.kill(pid, 'SIGSTOP');
      const reply = ask({ type: ReqType.RESTORE, opts: { images_dir_fd: fd } });
      await eventually('one of them is in a scope', () =>
        waiting.some((pid) => readFileSync(`/proc/${pid}/cgroup`, 'latin1').includes('criu-restore-')),
      );
      for (const pid of waiting) endProcess(pid);
      const { success, restore } = await reply;
      assert.deepEqual([success, restore?.pid], [true, target.pid]);
    });
    await target.assertCountsOn();
  });

  it('are replaced if the configuration changed after they read it', async () => {
    const [first, second] = [Target.start(), Target.start()];
    const before = existsSync(configuration) ? readFileSync(configuration) : undefined;
    await allWait();
    try {
      run('mkdir', '-p', '/etc/criu');
      writeFileSync(configuration, 'leave-running\n');
      assert.equal(await dump(first, undefined, false), true);
      await first.assertCountsOn();
      await allWait();
    } finally {
      if (before) writeFileSync(configuration, before);
      else rmSync(configuration);
    }
    assert.equal(await dump(second, undefined, false), true);
    await second.assertGone();
  });

  it('are replaced by a reload', async () => {
    const before = await allWait();
    run('systemctl', 'reload', 'criu.service');
    await assertLeaves(before);
    await allWait();
  });

  it('exit with the service, whether it is stopped or killed', async () => {
    for (const how of ['stop', 'kill']) {
      await ask({ type: ReqType.VERSION });
      const waiting = await allWait();
      if (how === 'stop') run('systemctl', 'stop', 'criu.service');
      else process.kill(mainPid(), 'SIGKILL');
      await assertLeaves(waiting);
    }
    await ask({ type: ReqType.VERSION });
  });
});

describe('a criu that is replaced while the service runs', () => {
  it('serves from the next request on', async () => {
    const directory = freshDirectory();
    const criu = join(directory, 'criu');
    copyFileSync('/usr/sbin/criu', criu);
    chmodSync(criu, 0o755);
    const service = await Instance.start('--criu', criu);
    try {
      await eventually('engines wait', () => waitingEngines(mainPid(service.unit)).length > 0);
      for (let i = 0; i < 2; i += 1) {
        assert.equal((await ask({ type: ReqType.VERSION }, service.address)).success, true);
      }
      // As a package manager does it: a new file, renamed over the old file.
      writeFileSync(`${criu}.new`, '#!/bin/sh\nexit 3\n', { mode: 0o755 });
      renameSync(`${criu}.new`, criu);
      const target = Target.start();
      assert.equal(await dump(target, service.address), false);
      const reply = await ask({ type: ReqType.VERSION }, service.address);
      assert.match(reply.cr_errmsg ?? '', /status 3/);
      await target.assertCountsOn();
    } finally {
      service.stop();
    }
  });
});

describe('stored answers', () => {
  it('equal the answer of an engine, for root and for a user, without an engine', async () => {
    await ask({ type: ReqType.VERSION });
    run('systemctl', 'reload', 'criu.service');
    const features = { mem_track: true, lazy_pages: true, pidfd_store: true };
    for (const request of [{ type: ReqType.VERSION }, { type: ReqType.FEATURE_CHECK, features }]) {
      const first = await ask(request);
      assert.equal(first.success, true);
      const waiting = await allWait();
      assert.deepEqual(await ask(request), first);
      assert.deepEqual(waitingEngines(), waiting);
    }
    assert.deepEqual(
      processesNamed('criu').filter((pid) => statusLine(pid, 'PPid') === `${mainPid()}`).length,
      2,
    );
  });

  it('outlive the service, and are dropped by a reload and by another criu', async () => {
    const request = { type: ReqType.VERSION };
    const real = await ask(request);
    const { identity, answers } = JSON.parse(readFileSync(keptAnswers, 'utf8'));
    assert.equal(statSync(keptAnswers).mode & 0o777, 0o600);
    // A mark that tells it from an answer of an engine.
    const [[question, answer]] = answers as [[string, string]];
    const marked = decodeResponse(Buffer.from(answer, 'latin1'), 'strict');
    assert.ok(marked.kind === 'response');
    const other = { ...marked.message, version: { ...marked.message.version!, gitid: 'kept' } };
    const leave = (of: string): void => {
      run('systemctl', 'stop', 'criu.service');
      const text = Buffer.from(encodeResponse(other)).toString('latin1');
      writeFileSync(keptAnswers, JSON.stringify({ identity: of, answers: [[question, text]] }));
    };
    leave(identity);
    assert.equal((await ask(request)).version?.gitid, 'kept');
    run('systemctl', 'reload', 'criu.service');
    assert.deepEqual(await ask(request), real);
    leave(`${identity} `);
    assert.deepEqual(await ask(request), real);
    assert.deepEqual(JSON.parse(readFileSync(keptAnswers, 'utf8')), {
      identity,
      answers: [[question, answer]],
    });
  });
});
