import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Cgroups, Freezer, targetFor } from '../../../src/engine/freezer.ts';

const alices = '/user.slice/user-1500.slice/user@1500.service';
const service = '/system.slice/worker.service';

/** Cgroups with their owners and their freezer states. */
class FakeCgroups implements Cgroups {
  readonly own = '/system.slice/criu.service';
  readonly owners: Readonly<Record<string, number>> = {
    '/': 0,
    '/user.slice': 0,
    '/user.slice/user-1500.slice': 0,
    [alices]: 1500,
    [`${alices}/app.slice`]: 1500,
    '/system.slice': 0,
    [service]: 1500,
    '/system.slice/cron.service': 0,
    '/system.slice/criu.service': 0,
  };
  readonly frozen: Record<string, string> = {};
  writes: string[] = [];

  ownerOf(path: string): number | undefined {
    return this.owners[path];
  }

  read(path: string, file: string): string {
    if (path === '/gone') throw new Error('ENOENT');
    const frozen = this.frozen[path] ?? '0';
    return file === 'cgroup.events' ? `populated 1\nfrozen ${frozen}\n` : `${frozen}\n`;
  }

  write(path: string, file: string, text: string): void {
    if (path === '/gone') throw new Error('ENOENT');
    assert.equal(file, 'cgroup.freeze');
    this.writes.push(`${path} ${text}`);
    this.frozen[path] = text;
  }
}

describe('the cgroup to freeze around a user’s process', () => {
  const cgroups = new FakeCgroups();
  for (const [what, path, target] of [
    ['the topmost unit that the user owns', `${alices}/app.slice/x.scope`, alices],
    ['a service that systemd has delegated to the user', `${service}/a/b`, service],
    [
      'the scope of a restore',
      '/user.slice/criu-restore-0123456789ab-1.scope',
      '/user.slice/criu-restore-0123456789ab-1.scope',
    ],
    [
      'a session of the user’s, as it is',
      '/user.slice/user-1500.slice/session-3.scope',
      '/user.slice/user-1500.slice/session-3.scope',
    ],
    ['nothing of another user’s', '/user.slice/user-1501.slice/session-3.scope', undefined],
    ['nothing of the system’s', '/system.slice/cron.service', undefined],
    ['nothing that contains this service', '/system.slice/criu.service', undefined],
    ['nothing outside of the cgroup namespace', `/../..${alices}`, undefined],
    ['not the root cgroup', '/', undefined],
  ] as const) {
    it(`is ${what}`, () => {
      assert.equal(targetFor(path, 1500, cgroups), target);
    });
  }

  it('is never a cgroup that contains this service, even if the user owns it', () => {
    const own = `${alices}/app.slice/criu.service`;
    assert.equal(
      targetFor(`${alices}/x.scope`, 1500, { ownerOf: (each) => cgroups.ownerOf(each), own }),
      undefined,
    );
  });

  it('is searched only to a limited depth, however deep its user nests', () => {
    let asked = 0;
    const ownerOf = (): number => {
      asked += 1;
      return 0;
    };
    assert.equal(targetFor('/a'.repeat(2000), 1500, { ownerOf, own: '/own' }), undefined);
    assert.ok(asked <= 32);
  });
});

describe('a freezer', () => {
  let directory: string;
  let cgroups: FakeCgroups;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'criu-freezer-'));
    cgroups = new FakeCgroups();
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('thaws the cgroups that it has frozen, and removes its record', async () => {
    const freezer = new Freezer(directory, cgroups);
    assert.equal(await freezer.freezeAround(`${alices}/x.scope`, 1500), true);
    assert.equal(cgroups.frozen[alices], '1');
    const [mark] = readdirSync(directory);
    assert.equal(readFileSync(join(directory, mark!), 'utf8'), `${alices}\n`);
    freezer.thaw();
    assert.equal(cgroups.frozen[alices], '0');
    assert.deepEqual(readdirSync(directory), []);
    freezer.thaw();
    assert.deepEqual(cgroups.writes, [`${alices} 1`, `${alices} 0`]);
  });

  it('leaves a cgroup frozen that another process has frozen', async () => {
    cgroups.frozen[alices] = '1';
    const freezer = new Freezer(directory, cgroups);
    assert.equal(await freezer.freezeAround(alices, 1500), true);
    freezer.thaw();
    assert.deepEqual(cgroups.writes, []);
  });

  it('freezes a cgroup again that another process has thawed', async () => {
    const freezer = new Freezer(directory, cgroups);
    await freezer.freezeAround(alices, 1500);
    cgroups.frozen[alices] = '0';
    await freezer.freezeAround(alices, 1500);
    assert.equal(cgroups.frozen[alices], '1');
    freezer.thaw();
    assert.equal(cgroups.frozen[alices], '0');
  });

  it('waits only for a limited time for a cgroup that never freezes', async () => {
    cgroups.read = (_path, file) => (file === 'cgroup.events' ? 'frozen 0\n' : '0\n');
    const freezer = new Freezer(directory, cgroups);
    assert.equal(await freezer.freezeAround(alices, 1500), true);
    freezer.thaw();
  });

  it('freezes nothing if it cannot record that', async () => {
    const freezer = new Freezer(undefined, cgroups);
    assert.equal(await freezer.freezeAround(alices, 1500), false);
    const missing = new Freezer(join(directory, 'missing'), cgroups);
    assert.equal(await missing.freezeAround(alices, 1500), false);
    missing.thaw();
    assert.deepEqual(cgroups.writes, []);
  });

  it('thaws the cgroups that a killed service has left frozen', async () => {
    await new Freezer(directory, cgroups).freezeAround(alices, 1500);
    await new Freezer(directory, cgroups).freezeAround(service, 1500);
    // A cgroup that was removed is not in the result.
    await new Freezer(directory, {
      ...cgroups,
      ownerOf: () => 1500,
      read: () => '0',
      write: () => {},
      own: '/own',
    }).freezeAround('/gone', 1500);
    assert.deepEqual(Freezer.thawLeft(directory, cgroups).sort(), [service, alices].sort());
    assert.deepEqual([cgroups.frozen[alices], cgroups.frozen[service]], ['0', '0']);
    assert.deepEqual(readdirSync(directory), []);
    assert.deepEqual(Freezer.thawLeft(directory, cgroups), []);
  });
});
