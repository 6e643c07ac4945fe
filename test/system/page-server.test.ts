/**
 * Page servers of users without root: they run as their user, in the unit of their caller, on the loopback unless asked otherwise.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { parseCgroup } from '../../src/proc/process-tree.ts';
import { type CriuOpts, type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { Attacker as Client } from '../hostile/support/attacker.ts';
import { it as hostileIt } from '../hostile/support/guarantee.ts';
import { as, directoryOf, targetOf, uids } from '../hostile/support/people.ts';
import { isThere, Unit } from '../hostile/support/units.ts';
import { eventually, run } from './support/bench.ts';
import { ourAddress } from './support/client.ts';
import { criuctlAs, must } from './support/criuctl.ts';
import { endProcess, pageServers, statusLine } from './support/proc.ts';

async function ask(
  type: ReqType,
  images: string,
  opts: Partial<CriuOpts>,
  user: 'root' | 'alice',
  under: string[] = as(user),
): Promise<CriuResp> {
  const client = new Client(user, { under });
  await client.do('open', 10, 0, images);
  const log = { log_level: 4, log_file: `${ReqType[type]}.log` };
  const reply = await client.ask({ type, opts: { images_dir_fd: 10, ...log, ...opts } }, ourAddress);
  assert.ok(reply !== 'closed');
  assert.equal(reply.success, true, JSON.stringify(reply));
  await client.end();
  return reply;
}

/** A page server without a connection would wait for ever. */
function it(title: string, body: () => Promise<void>): void {
  hostileIt(title, async () => {
    try {
      await body();
    } finally {
      for (const pid of pageServers()) endProcess(pid);
    }
  });
}

const cgroupOf = (pid: number): string => parseCgroup(readFileSync(`/proc/${pid}/cgroup`, 'latin1'));

/** Addresses with a listener at this port, as the kernel lists them. */
function listensAt(port: number): string[] {
  return run('ss', '--no-header', '--tcp', '--listening', '--numeric', `sport = :${port}`)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(/\s+/)[3]!);
}

describe('a page server', () => {
  it('is also served to alice by criuctl, as the manual says: it ends with its connection', async () => {
    const target = targetOf('alice');
    const pages = directoryOf('alice');
    const port = must(criuctlAs('alice', 'page-server', '-D', pages)).stdout.trim();
    assert.deepEqual(listensAt(Number(port)), [`127.0.0.1:${port}`]);
    const server = ['--page-server', '--address', '127.0.0.1', '--port', port];
    must(criuctlAs('alice', 'dump', `${target.pid}`, '-D', directoryOf('alice'), ...server));
    await target.assertGone();
    await eventually('it leaves after its one connection', () => pageServers().length === 0);
    assert.ok(readdirSync(pages).some((name) => /^pages-\d+\.img$/.test(name)));
  });

  it('of alice runs as alice, in the unit in which she asked, on the loopback, and takes the pages of her dump', async () => {
    const images = directoryOf('alice');
    const { ps } = await ask(ReqType.PAGE_SERVER, images, {}, 'alice');
    const [pid, ...more] = pageServers();
    assert.ok(pid !== undefined && more.length === 0);
    assert.equal(statusLine(pid, 'Uid'), Array(4).fill(uids.alice).join('\t'));
    const cgroup = cgroupOf(pid);
    assert.match(basename(cgroup), /^criu-page-server-[0-9a-f]+-\d+$/);
    assert.equal(dirname(cgroup), cgroupOf(process.pid));
    assert.deepEqual(listensAt(ps!.port!), [`127.0.0.1:${ps!.port}`]);

    const target = targetOf('alice');
    const server = { address: '127.0.0.1', port: ps!.port! };
    await ask(ReqType.DUMP, directoryOf('alice'), { pid: target.pid, ps: server }, 'alice');
    await target.assertGone();
    await eventually('it leaves after its one connection', () => pageServers().length === 0);
    const pages = readdirSync(images).filter((name) => /^pages-\d+\.img$/.test(name));
    assert.ok(pages.length > 0, readdirSync(images).join(' '));
    for (const name of pages) {
      const { uid, size } = statSync(join(images, name));
      assert.equal(uid, uids.alice);
      assert.ok(size > 0);
    }
    await eventually('its cgroup is gone', () => !isThere(cgroup));
  });

  it('of alice ends with the unit in which she asked', async () => {
    const unit = new Unit(false);
    // The unit stays, because its page server does.
    await ask(ReqType.PAGE_SERVER, directoryOf('alice'), {}, 'alice', unit.under);
    assert.equal(dirname(cgroupOf(pageServers()[0]!)), unit.cgroup);
    unit.stop();
    await eventually('it is gone', () => pageServers().length === 0);
  });

  it('of alice survives a restore of hers', async () => {
    const images = directoryOf('alice');
    const target = targetOf('alice');
    await ask(ReqType.DUMP, images, { pid: target.pid }, 'alice');
    await ask(ReqType.PAGE_SERVER, directoryOf('alice'), {}, 'alice');
    await ask(ReqType.RESTORE, images, {}, 'alice');
    assert.equal(pageServers().length, 1);
    await target.assertCountsOn();
  });

  it('of root is in a scope, too', async () => {
    await ask(ReqType.PAGE_SERVER, directoryOf('root'), { ps: { address: '127.0.0.1' } }, 'root');
    assert.match(cgroupOf(pageServers()[0]!), /\/criu-page-server-[0-9a-f]+-\d+\.scope$/);
  });
});
