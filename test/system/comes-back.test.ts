/** Dumps that would end a process which their caller could not restore. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { unshackled } from '../hostile/support/images.ts';
import { directoryOf } from '../hostile/support/people.ts';
import { binary, commandMs, run } from './support/bench.ts';
import { type Ended, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { cursor, records } from './support/journal.ts';
import { statusLine } from './support/proc.ts';
import { Target } from './support/targets.ts';

/** A login of alice's with these supplementary groups, for example `--groups=1500,1600`. */
function login(groups: string, ...more: string[]): string[] {
  return ['setpriv', '--reuid=alice', '--regid=alice', '--inh-caps=-all', groups, ...more, '--'];
}

const usual = '--groups=1500,1600';

function start(command: readonly string[]): Target {
  const file = join(directoryOf('alice'), 'count');
  const [program, ...argv] = [...command, binary('counter'), file];
  return new Target(Number(run(program!, ...argv)), file);
}

function criuctlFrom(command: readonly string[], ...argv: string[]): Ended {
  const [file, ...rest] = [...command, 'criuctl', ...argv];
  const { status, stdout, stderr } = spawnSync(file!, rest, { encoding: 'utf8', timeout: commandMs });
  return { status, stdout, stderr };
}

const dump = (from: readonly string[], target: Target, images: string, ...more: string[]): Ended =>
  criuctlFrom(from, 'dump', `${target.pid}`, '-D', images, ...more);

function groupsOf({ pid }: Target): string {
  return /^Groups:\t([\d ]*)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]!.trim();
}

describe('a dump of alice’s that would end what she could not restore', () => {
  const otherGroups: [what: string, theirs: string, hers: string, RegExp][] = [
    ['of a group that she lacks', usual, '--groups=1500', /groups criu-test \(1600\), which you lack/],
    ['without a group of hers', '--groups=1500', usual, /lacks your supplementary groups criu-test \(1600\)/],
    ['without any group', '--clear-groups', usual, /lacks your .* alice \(1500\), criu-test \(1600\)/],
  ];
  for (const [what, theirs, hers, words] of otherGroups) {
    it(`is refused for a process ${what}, and the process runs on`, async () => {
      const target = start(login(theirs, ...unshackled()));
      failed(dump(login(hers), target, directoryOf('alice')), 3, words, /newgrp, a new login.*-R/);
      await target.assertCountsOn();
    });
  }

  it('is refused for a process with inheritable capabilities that she lacks, and served where she has them', async () => {
    const inherits = (...more: string[]): string[] =>
      login(usual, ...more).map((word) => (word === '--inh-caps=-all' ? `${word},+net_raw` : word));
    const target = start(inherits(...unshackled()));
    assert.notEqual(statusLine(target.pid, 'CapInh'), '0000000000000000');
    const refused = dump(login(usual), target, directoryOf('alice'));
    failed(
      refused,
      3,
      /has CAP_NET_RAW in its inheritable set, which you lack there/,
      /setpriv --inh-caps=-all.*-R/,
    );
    await target.assertCountsOn();
    const images = directoryOf('alice');
    const before = statusLine(target.pid, 'CapInh');
    must(dump(inherits(), target, images));
    await target.assertGone();
    must(criuctlFrom(inherits(), 'restore', '-D', images));
    assert.equal(statusLine(target.pid, 'CapInh'), before);
    await target.assertCountsOn();
  });

  it('is served for a process that runs on, with a warning for her and in the journal', async () => {
    const target = start(login('--groups=1500', ...unshackled()));
    const since = cursor();
    const dumped = must(dump(login(usual), target, directoryOf('alice'), '-R'));
    const words =
      /^criuctl: warning: process \d+ of the tree lacks your supplementary groups criu-test \(1600\)/;
    assert.match(dumped.stderr, words);
    const json = must(dump(login(usual), target, directoryOf('alice'), '-R', '--json'));
    assert.match(JSON.parse(json.stdout).warning, /criu-test \(1600\)/);
    const about = [`--after-cursor=${since}`, `CRIU_TARGET_PID=${target.pid}`, 'PRIORITY=4'];
    const [record] = await records(1, ...about);
    assert.match(record!.CRIU_WARNING!, /criu-test \(1600\)/);
    await target.assertCountsOn();
  });

  it('is served from a login with the same groups, and restored from there', async () => {
    for (const groups of [usual, '--clear-groups']) {
      const target = start(login(groups, ...unshackled()));
      const images = directoryOf('alice');
      assert.equal(must(dump(login(groups), target, images)).stderr, '');
      await target.assertGone();
      const before = groups === usual ? '1500 1600' : '';
      must(criuctlFrom(login(groups), 'restore', '-D', images));
      assert.equal(groupsOf(target), before);
      await target.assertCountsOn();
    }
  });

  const contained: [what: string, command: (inside: string[]) => string[], RegExp][] = [
    [
      'a user namespace',
      (inside) => [...inside, 'unshare', '--user', '--map-root-user'],
      /user namespace of its own/,
    ],
    ['a mount namespace', (inside) => ['unshare', '--mount', ...inside], /mount namespace of its own/],
    ['a network namespace', (inside) => ['unshare', '--net', ...inside], /network namespace of its own/],
    ['an ipc namespace', (inside) => ['unshare', '--ipc', ...inside], /ipc namespace of its own/],
    ['a uts namespace', (inside) => ['unshare', '--uts', ...inside], /uts namespace of its own/],
    ['a cgroup namespace', (inside) => ['unshare', '--cgroup', ...inside], /cgroup namespace of its own/],
  ];
  for (const [what, command, words] of contained) {
    it(`is refused for a process in ${what} of its own`, async () => {
      const target = start(command(login(usual, ...unshackled())));
      failed(dump(login(usual), target, directoryOf('alice')), 3, words);
      await target.assertCountsOn();
    });
  }

  it('is refused for a process under a seccomp filter', async () => {
    const target = start([
      ...['systemd-run', '--quiet', '--pipe', '--wait', '--property=KillMode=none', '--property=User=alice'],
      ...['--property=NoNewPrivileges=yes', '--property=SystemCallFilter=~reboot'],
    ]);
    failed(dump(login(usual), target, directoryOf('alice'), '-R'), 3, /is under a seccomp filter/);
    await target.assertCountsOn();
  });

  it('is refused for a process with another root directory', async () => {
    const root = directoryOf('root');
    run('mount', '--bind', '/', root);
    try {
      const target = start([
        'setpriv',
        '--no-new-privs',
        '--inh-caps=-all',
        'chroot',
        '--userspec=alice:alice',
        '--groups=alice,criu-test',
        root,
      ]);
      failed(dump(login(usual), target, directoryOf('alice')), 3, /has another root directory than you/);
      await target.assertCountsOn();
      await target.kill();
    } finally {
      run('umount', '--lazy', root);
    }
  });

  it('is served with a warning for hard limits above hers, which the restored process gets', async () => {
    const target = start(login(usual, ...unshackled()));
    const images = directoryOf('alice');
    const lower = ['prlimit', '--nofile=1000:2000', ...login(usual)];
    const dumped = must(dump(lower, target, images));
    assert.match(dumped.stderr, /hard limits above yours.*: RLIMIT_NOFILE \d+ \(yours: 2000\)/);
    await target.assertGone();
    must(criuctlFrom(lower, 'restore', '-D', images));
    assert.match(readFileSync(`/proc/${target.pid}/limits`, 'utf8'), /^Max open files +2000 +2000 /m);
    await target.assertCountsOn();
  });

  it('is served for a process with no_new_privs', async () => {
    const target = start(login(usual, '--no-new-privs'));
    const images = directoryOf('alice');
    assert.equal(must(dump(login(usual), target, images)).stderr, '');
    await target.assertGone();
    must(criuctlFrom(login(usual), 'restore', '-D', images));
    assert.equal(statusLine(target.pid, 'NoNewPrivs'), '1');
    await target.assertCountsOn();
  });
});

describe('images of a process without supplementary groups', () => {
  it('are not restored with the groups of their user', async () => {
    const target = start(login('--clear-groups', ...unshackled()));
    const images = directoryOf('alice');
    must(dump(login('--clear-groups'), target, images));
    await target.assertGone();
    const refused = criuctlFrom(login(usual), 'restore', '-D', images);
    assert.equal(refused.status, 1, JSON.stringify(refused));
    assert.ok(!target.alive);
    must(criuctlFrom(login('--clear-groups'), 'restore', '-D', images));
    assert.equal(groupsOf(target), '');
    await target.assertCountsOn();
  });
});
