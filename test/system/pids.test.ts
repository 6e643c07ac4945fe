/** Restores that need a pid which the service itself holds. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { decodeResponse, encodeRequest } from '../../src/protocol/codec.ts';
import { type CriuReq, type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { as, directoryOf, targetOf, type User } from '../hostile/support/people.ts';
import { eventually, run, script } from './support/bench.ts';
import { ask, ourAddress } from './support/client.ts';
import { criuctl, criuctlAs, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { cursor, records } from './support/journal.ts';
import { childrenOf, waitsAhead } from './support/proc.ts';
import type { Target } from './support/targets.ts';
import { mainPid } from './support/unit.ts';

/** The next process or thread of this machine has this pid, unless another is started first. */
function nextPid(pid: number): void {
  writeFileSync('/proc/sys/kernel/ns_last_pid', `${pid - 1}`);
}

async function dumped(user: User): Promise<{ target: Target; images: string }> {
  const target = targetOf(user);
  const images = directoryOf(user);
  must(criuctlAs(user, 'dump', `${target.pid}`, '-D', images));
  await target.assertGone();
  return { target, images };
}

/** Replaces waiting engines until one of them has this pid. */
async function takeByWaitingEngine(pid: number): Promise<void> {
  await ask({ type: ReqType.VERSION });
  for (let tries = 0; !(childrenOf(mainPid()).includes(pid) && waitsAhead(pid)); tries += 1) {
    assert.ok(tries < 100, 'a waiting engine has the pid');
    const service = mainPid();
    const waiting = (): number[] => childrenOf(service).filter(waitsAhead);
    const before = waiting();
    // A reload may start another program first.
    nextPid(pid - (tries % 4));
    process.kill(service, 'SIGHUP');
    await eventually('an engine that waits is new', () => waiting().some((each) => !before.includes(each)));
  }
}

describe('a restore that needs a pid which the service holds', () => {
  for (const user of ['root', 'alice'] as const) {
    it(`of ${user} gets the pid of a waiting engine`, async () => {
      const { target, images } = await dumped(user);
      await takeByWaitingEngine(target.pid);
      const before = cursor();
      assert.equal(must(criuctlAs(user, 'restore', '-D', images)).stdout, `${target.pid}\n`);
      await target.assertCountsOn();
      const said = await records(3, `--after-cursor=${before}`, 'CRIU_REQUEST=RESTORE');
      assert.match(
        said[1]!.MESSAGE!,
        new RegExp(`tried again: process ${target.pid}, which it needs, (is an engine|has ended meanwhile)`),
      );
      assert.match(said[2]!.MESSAGE!, new RegExp(`done, process ${target.pid} in`));
    });
  }

  it('of alice gets the pid of its own first engine', async () => {
    const { target, images } = await dumped('alice');
    const request: CriuReq = {
      type: ReqType.RESTORE,
      opts: { images_dir_fd: 9, log_file: 'restore.log', log_level: 4 },
    };
    for (let triedAgain = false, tries = 0; !triedAgain; tries += 1) {
      assert.ok(tries < 20, 'an engine has met its own pid');
      if (tries > 0) {
        must(criuctlAs('alice', 'dump', `${target.pid}`, '-D', images, '--replace'));
        await target.assertGone();
      }
      const [file, ...argv] = [
        ...as('alice'),
        'python3',
        script('ask_later.py'),
        ourAddress,
        images,
        Buffer.from(encodeRequest(request)).toString('hex'),
      ];
      const before = cursor();
      const client = spawn(file!, argv, { stdio: ['pipe', 'pipe', 'inherit'] });
      await once(client.stdout, 'data');
      // Threads that read the caller may come before the launcher.
      nextPid(target.pid - (tries % 4));
      client.stdin.end();
      const decoded = decodeResponse(Buffer.from((await text(client.stdout)).trim(), 'hex'), 'strict');
      assert.ok(decoded.kind === 'response');
      const reply: CriuResp = decoded.message;
      assert.equal(reply.success, true, JSON.stringify(reply));
      await target.assertCountsOn();
      const [, second] = await records(2, `--after-cursor=${before}`, 'CRIU_REQUEST=RESTORE');
      triedAgain = /tried again/.test(second!.MESSAGE!);
    }
  });

  it('is told of a thread of the service, and succeeds when the service was restarted', async () => {
    const { target, images } = await dumped('root');
    let before = 3;
    const hasThePid = (): boolean => {
      run('systemctl', 'stop', 'criu.service');
      nextPid(target.pid - before);
      before = before === 12 ? 3 : before + 1;
      run('systemctl', 'start', 'criu.service');
      return existsSync(`/proc/${mainPid()}/task/${target.pid}`);
    };
    // Some restarts may be needed.
    await eventually('a thread has the pid', hasThePid, 600_000);
    failed(
      criuctl('restore', '-D', images),
      1,
      new RegExp(
        `process ${target.pid} is a thread of criu-service itself: as root: systemctl restart criu.service`,
      ),
      new RegExp(
        `${target.pid} is a thread of criu-service itself\\. As root: systemctl restart criu\\.service`,
      ),
    );
    run('systemctl', 'restart', 'criu.service');
    assert.ok(readdirSync(`/proc/${mainPid()}/task`).every((tid) => Number(tid) !== target.pid));
    must(criuctl('restore', '-D', images));
    await target.assertCountsOn();
  });
});
