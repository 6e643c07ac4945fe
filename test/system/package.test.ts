/** The package in an administrator's hands: its files, an upgrade, a removal. In the end it is installed and enabled again. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ReqType } from '../../src/protocol/messages.ts';
import { as, directoryOf, targetOf } from '../hostile/support/people.ts';
import { eventually, freshDirectory, inVm, run, succeeds } from './support/bench.ts';
import { ask, Client, ourAddress, withOpen } from './support/client.ts';
import { it } from './support/it.ts';
import { packageFile, packagePatienceMs, remains, rpm, theSocket } from './support/package.ts';
import { isAlive } from './support/proc.ts';
import { Target } from './support/targets.ts';
import { mainPid, show } from './support/unit.ts';

const name = 'criu-service';
const pages = [
  ['criu-service', 8],
  ['criuctl', 1],
  ['criu.socket', 5],
  ['criu.service', 5],
] as const;

/** The same package under a later version. */
function nextVersion(): { file: string; version: string } {
  const directory = join(freshDirectory(), 'next');
  run('dpkg-deb', '--raw-extract', packageFile('deb'), directory);
  const control = join(directory, 'DEBIAN', 'control');
  const text = readFileSync(control, 'utf8');
  const version = `${text.match(/^Version: (.*)$/m)?.[1]}+next`;
  writeFileSync(control, text.replace(/^Version: .*$/m, `Version: ${version}`));
  const file = `${directory}.deb`;
  run('dpkg-deb', '--root-owner-group', '-Zgzip', '--build', directory, file);
  rmSync(directory, { recursive: true });
  return { file, version };
}

/** A field of the installed package in dpkg's database; undefined without such a package. */
function field(which: string): string | undefined {
  const command = ['dpkg-query', '--show', `--showformat=\${${which}}`, name] as const;
  return succeeds(...command) ? run(...command).trim() : undefined;
}

function contents(): string[] {
  return run('dpkg-query', '--listfiles', name).trim().split('\n').slice(1);
}

/** Whether a unit is enabled, and whether it runs. */
const state = (unit: string) => show(unit, 'UnitFileState', 'ActiveState');

/** Runs a command beside the tests. @returns its exit status and its output. */
function begin(file: string, ...argv: string[]): Promise<{ status: number | null; output: string }> {
  const child = spawn(file, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += text));
  return new Promise((resolve) => child.once('close', (status) => resolve({ status, output })));
}

async function restored(target: Target, user: 'root' | 'alice'): Promise<void> {
  const images = directoryOf(user);
  const client = ['/usr/bin/python3', '/usr/share/doc/criu-service/examples/python/checkpoint.py'];
  const [file, ...rest] = [...as(user), ...client];
  run(file!, ...rest, 'dump', `${target.pid}`, images);
  await target.assertGone();
  run(file!, ...rest, 'restore', images);
  await target.assertCountsOn();
}

describe('the package', () => {
  it('contains only files that root alone can write, and only unprivileged programs', async () => {
    for (const path of contents()) {
      const { uid, gid, mode } = lstatSync(path);
      assert.deepEqual([uid, gid], [0, 0], path);
      if (lstatSync(path).isSymbolicLink()) continue;
      assert.equal(mode & 0o6022, 0, `${path} has mode ${(mode & 0o7777).toString(8)}`);
    }
    assert.equal(run('getcap', ...contents().filter((path) => statSync(path).isFile())), '');
  });

  it('takes less than 15 MB', async () => {
    const size = Number(field('Installed-Size'));
    assert.ok(size > 0 && size < 15_000, `${size} KB`);
  });

  for (const [page, section] of pages) {
    it(`has the manual page ${page}(${section}), which man renders without a warning`, async () => {
      const options = ['--warnings', '--encoding=UTF-8', '--pager=cat'];
      const { stdout, stderr } = spawnSync('man', [...options, `${section}`, page], { encoding: 'utf8' });
      assert.equal(stderr, '');
      assert.match(stdout, /^NAME$/m);
    });
  }

  it('is upgraded during a dump, which is finished, and callers that connect meanwhile are served', async function () {
    this.timeout(2 * packagePatienceMs);
    const target = Target.start();
    const before = { pid: mainPid(), socket: theSocket() };
    const next = nextVersion();
    await withOpen([freshDirectory()], async (fd) => {
      const client = new Client().send({
        type: ReqType.DUMP,
        opts: { images_dir_fd: fd, pid: target.pid, notify_scripts: true, leave_running: true },
      });
      await client.notified('pre-dump');
      const upgrade = begin('dpkg', '--install', next.file);
      await eventually(
        'the upgrade has reached the service',
        () => show('criu.service', 'ActiveState').ActiveState === 'deactivating' || mainPid() !== before.pid,
        packagePatienceMs,
      );
      const other = ask({ type: ReqType.VERSION });
      await client.answer(true).notified('query-ext-files');
      await client.answer(true).notified('post-dump');
      const reply = await client.answer(true).only();
      assert.deepEqual([reply.type, reply.success], [ReqType.DUMP, true]);
      assert.equal((await other).success, true);
      const { status, output } = await upgrade;
      assert.equal(status, 0, output);
    });
    assert.equal(field('Version'), next.version);
    assert.notEqual(mainPid(), before.pid);
    assert.deepEqual(theSocket(), before.socket);
    await target.assertCountsOn();
  });

  // After these the service is gone, so that our own `it` could not check whether it is idle.
  describe('that is removed', function () {
    this.timeout(packagePatienceMs);
    const survivors: Target[] = [];
    let files: string[];

    before(async () => {
      files = contents();
      const target = Target.start();
      await restored(target, 'root');
      const hers = targetOf('alice', ...(inVm ? [] : ['--no-new-privs']));
      await restored(hers, 'alice');
      survivors.push(target, hers);
      run('dpkg', '--remove', name);
    });

    after(async () => {
      for (const target of survivors) await target.kill();
    });

    global.it('stops the service and the socket', () => {
      assert.equal(succeeds('systemctl', 'is-active', 'criu.service'), false);
      assert.equal(succeeds('systemctl', 'is-active', 'criu.socket'), false);
      assert.equal(existsSync(ourAddress), false);
    });

    global.it('leaves restored processes running', async () => {
      for (const target of survivors) await target.assertCountsOn();
    });

    global.it('leaves no file once it is purged', () => {
      run('dpkg', '--purge', name);
      // Leftover configuration would show as the status "rc".
      assert.equal(field('db:Status-Abbrev'), undefined);
      // Directories that other packages use, too, stay.
      assert.deepEqual(
        files.filter((path) => existsSync(path) && !statSync(path).isDirectory()),
        [],
      );
      assert.equal(remains(), '');
    });

    describe('and installed by rpm', () => {
      // With this preset of Fedora's only units that are named are enabled.
      const preset = '/etc/systemd/system-preset/99-default-disable.preset';
      const explained = () => run('journalctl', '--list-catalog').includes('criu-service');
      let installed: string[];

      before(() => {
        mkdirSync(join(preset, '..'), { recursive: true });
        writeFileSync(preset, 'disable *\n');
        // The entries of the other package stay in systemd's database until it is built anew.
        run('journalctl', '--update-catalog');
        assert.equal(explained(), false);
        rpm('--install', packageFile('rpm'));
        installed = run('rpm', '--query', '--list', 'criu-service').trim().split('\n');
      });

      after(() => {
        if (succeeds('rpm', '--query', 'criu-service')) rpm('--erase', 'criu-service');
        rmSync(preset);
      });

      global.it('is neither enabled nor started', () => {
        assert.deepEqual(state('criu.socket'), { ActiveState: 'inactive', UnitFileState: 'disabled' });
        assert.deepEqual(state('criu.service'), { ActiveState: 'inactive', UnitFileState: 'indirect' });
      });

      global.it('serves once its socket is enabled, and explains its records', async () => {
        run('systemctl', 'enable', '--now', 'criu.socket');
        assert.equal((await ask({ type: ReqType.VERSION })).success, true);
        assert.equal(explained(), true);
      });

      global.it('restarts a running service on an upgrade, and never the socket', async () => {
        const before = { pid: mainPid(), socket: theSocket() };
        assert.equal(isAlive(before.pid), true);
        // The scripts of both the new and the old package run with the arguments of an upgrade.
        rpm('--reinstall', packageFile('rpm'));
        assert.notEqual(mainPid(), before.pid);
        assert.deepEqual(theSocket(), before.socket);
        assert.equal((await ask({ type: ReqType.VERSION })).success, true);
        assert.equal(show('criu.socket', 'UnitFileState').UnitFileState, 'enabled');
      });

      global.it('leaves a stopped service stopped on an upgrade', () => {
        run('systemctl', 'stop', 'criu.service');
        rpm('--reinstall', packageFile('rpm'));
        assert.equal(mainPid(), 0);
        assert.equal(show('criu.socket', 'ActiveState').ActiveState, 'active');
      });

      global.it('is stopped and leaves no file once it is erased', async () => {
        assert.equal((await ask({ type: ReqType.VERSION })).success, true);
        rpm('--erase', 'criu-service');
        assert.deepEqual(
          installed.filter((path) => existsSync(path)),
          [],
        );
        assert.equal(remains(), '');
      });
    });

    describe('and installed again', () => {
      global.it('is neither enabled nor started', () => {
        run('dpkg', '--install', packageFile('deb'));
        assert.deepEqual(state('criu.socket'), { ActiveState: 'inactive', UnitFileState: 'disabled' });
        // Its socket enables it (Also=), which systemd calls indirect.
        assert.deepEqual(state('criu.service'), { ActiveState: 'inactive', UnitFileState: 'indirect' });
        assert.equal(existsSync(ourAddress), false);
      });

      global.it('answers again once its socket is enabled', async () => {
        run('systemctl', 'enable', '--now', 'criu.socket');
        assert.equal((await ask({ type: ReqType.VERSION })).success, true);
        assert.equal(isAlive(mainPid()), true);
      });
    });
  });
});
