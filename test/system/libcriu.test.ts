/** A C program on libcriu that asks the service to dump the program itself (clients/self-dump.c). */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ReqType } from '../../src/protocol/messages.ts';
import { binary, eventually, freshDirectory, needsSoftDirty, run } from './support/bench.ts';
import { ask, ourAddress, withOpen } from './support/client.ts';
import { it } from './support/it.ts';
import { records } from './support/journal.ts';
import { Target } from './support/targets.ts';

class SelfDumper {
  readonly images = freshDirectory();
  readonly target: Target;
  readonly #result = join(freshDirectory(), 'result');

  constructor(how: 'plain' | 'named' | 'child' | 'leave-running' | 'loop' | 'locked', address = ourAddress) {
    const count = join(freshDirectory(), 'count');
    const pid = Number(run(binary('self-dump'), address, this.images, this.#result, count, how));
    this.target = new Target(pid, count);
  }

  /** The lines that it has written so far about libcriu's answers. */
  get reported(): string[] {
    return existsSync(this.#result)
      ? readFileSync(this.#result, 'utf8')
          .split('\n')
          .filter((line) => line !== '')
      : [];
  }

  async reports(...lines: string[]): Promise<void> {
    await eventually('it reports', () => this.reported.length >= lines.length);
    assert.deepEqual(this.reported, lines);
  }

  async restore(directory: string = this.images): Promise<void> {
    const reply = await withOpen([directory], (fd) =>
      ask({ type: ReqType.RESTORE, opts: { images_dir_fd: fd, log_file: 'restore.log', log_level: 4 } }),
    );
    assert.equal(reply.success, true, JSON.stringify(reply));
    assert.equal(reply.restore?.pid, this.target.pid);
  }
}

describe('a program on libcriu that dumps itself', () => {
  it('is gone after the dump, and reads "restored" after its restore', async () => {
    const dumper = new SelfDumper('plain');
    await dumper.target.assertGone();
    assert.deepEqual(dumper.reported, []);
    await dumper.restore();
    await dumper.reports('dump 1 errno 0');
    await dumper.target.assertCountsOn();
  });

  it('reaches the service at its older address, too', async () => {
    const dumper = new SelfDumper('leave-running', '/var/run/criu_service.socket');
    await dumper.reports('dump 0 errno 0');
    await dumper.target.assertCountsOn();
    await dumper.target.kill();
  });

  it('is recorded as dumped if it has told its own pid, thirty times of thirty', async () => {
    for (let round = 1; round <= 30; round += 1) {
      const dumper = new SelfDumper('named');
      await dumper.target.assertGone();
      const [end] = await records(
        1,
        `CRIU_TARGET_PID=${dumper.target.pid}`,
        'CRIU_RESULT=done',
        'CRIU_RESULT=failed',
      );
      assert.equal(end!.CRIU_RESULT, 'done', `round ${round}: ${JSON.stringify(end)}`);
      if (round < 30) continue;
      await dumper.restore();
      await dumper.reports('dump 1 errno 0');
      await dumper.target.assertCountsOn();
    }
  });

  it('is recorded as dumped if a child of it has asked for that, and the child reads "restored"', async () => {
    const dumper = new SelfDumper('child');
    await dumper.target.assertGone();
    await records(1, `CRIU_TARGET_PID=${dumper.target.pid}`, 'CRIU_RESULT=done');
    await dumper.restore();
    await dumper.reports('dump 1 errno 0');
    await dumper.target.assertCountsOn();
  });

  it('runs on with a plain success if it asked for that, and its copy reads "restored"', async () => {
    const dumper = new SelfDumper('leave-running');
    await dumper.reports('dump 0 errno 0');
    await dumper.target.assertCountsOn();
    await dumper.target.kill();
    await dumper.restore();
    await dumper.reports('dump 0 errno 0', 'dump 1 errno 0');
    await dumper.target.assertCountsOn();
  });

  it('gets the failing reply to a dump that fails halfway, and runs on', async () => {
    const dumper = new SelfDumper('locked');
    await eventually('it reports', () => dumper.reported.length > 0);
    assert.match(dumper.reported[0]!, /^dump -52 /);
    await dumper.target.assertCountsOn();
    const [end] = await records(1, `CRIU_TARGET_PID=${dumper.target.pid}`, 'CRIU_RESULT=failed');
    assert.equal(end!.CRIU_REQUEST, 'DUMP');
  });

  it('dumps itself at the end of a PRE_DUMP loop', async function () {
    needsSoftDirty(this);
    const dumper = new SelfDumper('loop');
    await dumper.target.assertGone();
    assert.deepEqual(dumper.reported, ['round 1 errno 0', 'round 2 errno 0']);
    await dumper.restore(join(dumper.images, '3'));
    await dumper.reports('round 1 errno 0', 'round 2 errno 0', 'dump 0 errno 0');
    await dumper.target.assertCountsOn();
  });
});
