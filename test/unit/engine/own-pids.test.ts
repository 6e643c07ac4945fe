/** Pids of this service's own that a restore may need. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { EnginePool } from '../../../src/engine/engine-pool.ts';
import { OwnPids } from '../../../src/engine/own-pids.ts';
import { umaskFor } from '../../../src/engine/privileged.ts';
import { ReqType } from '../../../src/protocol/messages.ts';
import { ServiceUnderTest } from '../../scenario/support/service.ts';

describe('own pids', () => {
  let criu: ServiceUnderTest;
  let pool: EnginePool;

  beforeEach(() => {
    criu = new ServiceUnderTest();
    criu.engine('receive');
    pool = new EnginePool({ criu: criu.script, ahead: 2 });
  });

  afterEach(async () => {
    pool.close();
    await criu.stop();
  });

  it('are those of threads, of children and of their children, and of no other process', async () => {
    const own = new OwnPids(pool);
    const threads = readdirSync('/proc/self/task').map(Number);
    assert.ok(threads.length > 1);
    for (const tid of threads) assert.equal(own.holderOf(tid), 'thread');
    const child = spawn('cat', { stdio: ['pipe', 'ignore', 'ignore'] });
    assert.equal(own.holderOf(child.pid!), 'engine');
    child.stdin.end();
    await once(child, 'exit');
    assert.equal(own.holderOf(child.pid!), 'gone');
    assert.equal(own.holderOf(1), undefined);
    const engine = spawn('sh', ['-c', 'sleep 60 & echo $!; wait'], { stdio: ['ignore', 'pipe', 'ignore'] });
    const [helper] = await once(engine.stdout, 'data');
    assert.equal(own.holderOf(Number(helper)), 'engine');
    process.kill(Number(helper));
    await once(engine, 'exit');
    const { stdout } = spawnSync('sh', ['-c', 'sleep 60 >/dev/null 2>&1 & echo $!'], { encoding: 'utf8' });
    assert.equal(own.holderOf(Number(stdout)), undefined);
    process.kill(Number(stdout));
  });

  it('of a waiting engine are free when it has given way: that engine alone is let go', async () => {
    const own = new OwnPids(pool);
    pool.start();
    const { pid } = pool.waiting[0]!;
    await own.giveWay(pid);
    assert.equal(own.holderOf(pid), 'gone');
    assert.ok(pool.waiting.every((engine) => engine.pid !== pid));
  });

  it('of an engine at work are waited for', async () => {
    const own = new OwnPids(pool);
    pool.start();
    const events = { onMessage() {}, onHangup() {}, onEnd() {} };
    const engine = pool.take(umaskFor(ReqType.DUMP), events)!;
    let free = false;
    const given = own.giveWay(engine.pid).then(() => {
      free = true;
    });
    assert.equal(own.holderOf(engine.pid), 'engine');
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(free, false);
    engine.dismiss();
    await given;
    assert.equal(own.holderOf(engine.pid), 'gone');
  });

  it('of a thread that stays are given up after the patience for it', async () => {
    const own = new OwnPids(pool, 20);
    await own.giveWay(process.pid);
    assert.equal(own.holderOf(process.pid), 'thread');
  });

  it('give way four times at once for a user, and for another user nevertheless', () => {
    const own = new OwnPids(pool);
    const asked = Array.from({ length: 6 }, () => own.mayGiveWay(1500));
    assert.deepEqual(asked, [true, true, true, true, false, false]);
    assert.equal(own.mayGiveWay(1501), true);
  });
});
