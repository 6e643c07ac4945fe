/** The purpose of the service: a user without root dumps and restores processes of their own. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type CriuOpts, type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { Attacker as Client } from '../hostile/support/attacker.ts';
import { it } from '../hostile/support/guarantee.ts';
import { unshackled } from '../hostile/support/images.ts';
import { as, directoryOf, startCounting, uids } from '../hostile/support/people.ts';
import { binary, eventually, inVm, run } from './support/bench.ts';
import { ourAddress } from './support/client.ts';
import { Instance } from './support/instance.ts';
import { journalOf } from './support/journal.ts';
import { childrenOf, statusLine } from './support/proc.ts';
import { Target } from './support/targets.ts';

/** Many processes, which exit when the input of the first ends. */
const sleepers = `
import os, sys
read, write = os.pipe()
for _ in range(3000):
    if os.fork() == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
print('there', flush=True)
sys.stdin.read()
`;

interface Answers {
  readonly scripts: string[];
  readonly reply: CriuResp;
}

/** Like a restore that lost its service before it was verified. */
const inScope = ['--quiet', '--scope', '--collect', '--unit=criu-restore-left', '--slice=user-1501.slice'];
const holdingCapability = [
  ...['setpriv', '--reuid=bob', '--regid=bob', '--init-groups'],
  ...['--inh-caps=-all,+checkpoint_restore', '--ambient-caps=+checkpoint_restore', '--'],
];

/** alice asks, and says yes to all notifications, after a pause. */
async function ask(
  type: ReqType,
  images: string,
  opts: Partial<CriuOpts>,
  address = ourAddress,
  under: string[] = as('alice'),
  pause: () => Promise<void> = async () => {},
): Promise<Answers> {
  const alice = new Client('alice', { under });
  await alice.do('open', 10, 0, images);
  const scripts: string[] = [];
  let message = await alice.ask(
    { type, opts: { images_dir_fd: 10, log_level: 4, log_file: `${ReqType[type]}.log`, ...opts } },
    address,
  );
  while (message !== 'closed' && message.type === ReqType.NOTIFY) {
    scripts.push(message.notify?.script ?? '');
    await pause();
    await alice.send({ type: ReqType.NOTIFY, notify_success: true });
    message = await alice.receive();
  }
  assert.notEqual(message, 'closed');
  await alice.end();
  return { scripts, reply: message as CriuResp };
}

/** As pam_loginuid(8) does; in a container it may be forbidden. */
const setLoginUid = `echo ${uids.alice} 2>/dev/null >/proc/self/loginuid || true`;

const capabilitySets = ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'];

/** alice with unusual limits, priority, mask and groups; the groups are not those of /etc/group, as in some logins. */
function unlikeOthers(...options: string[]): string[] {
  const alice = as('alice', ...options);
  return [
    ...['sh', '-c', `${setLoginUid}; umask 0137; exec "$@"`, 'sh'],
    ...['prlimit', '--nofile=700:900', '--core=4096:8192', '--memlock=65536:65536', '--'],
    ...['nice', '-n', '5', 'choom', '--adjust', '300', '--'],
    ...alice.map((word) => (word === '--init-groups' ? '--groups=1500,27,60001' : word)),
  ];
}

/** Properties of a process that must be the same before its dump and after its restore. */
function traitsOf(pid: number): Record<string, string | undefined> {
  const credentials = ['Uid', 'Gid', 'Groups', ...capabilitySets];
  const lines = [...credentials, 'NoNewPrivs', 'Seccomp', 'Umask'];
  const files = ['limits', 'oom_score_adj', 'loginuid'].filter((name) => existsSync(`/proc/${pid}/${name}`));
  return {
    ...Object.fromEntries(lines.map((name) => [name, statusLine(pid, name)])),
    ...Object.fromEntries(files.map((name) => [name, readFileSync(`/proc/${pid}/${name}`, 'utf8')])),
    // Field 19 of proc_pid_stat(5), counted from the field behind the name.
    nice: readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /, '')
      .split(' ')[16],
  };
}

function tree(): Target {
  return startCounting('alice', unshackled(), binary('targets'), 'tree');
}

describe('alice', () => {
  it('dumps a tree of hers and restores it, and it counts on', async () => {
    const target = tree();
    const images = directoryOf('alice');
    const before = traitsOf(target.pid);
    await target.assertCountsOn();
    const dumped = await ask(ReqType.DUMP, images, { pid: target.pid });
    assert.equal(dumped.reply.success, true, JSON.stringify(dumped.reply));
    await target.assertGone();
    const stoppedAt = target.count;
    for (const name of readdirSync(images)) {
      const { uid, gid } = statSync(join(images, name));
      assert.deepEqual({ name, uid, gid }, { name, uid: uids.alice, gid: uids.alice });
    }

    const restored = await ask(ReqType.RESTORE, images, {});
    assert.equal(restored.reply.success, true, JSON.stringify(restored.reply));
    assert.equal(restored.reply.restore?.pid, target.pid);
    await target.assertCountsOn();
    assert.ok(target.count > stoppedAt);
    assert.equal(childrenOf(target.pid).length, 2);
    assert.equal(readdirSync(`/proc/${target.pid}/task`).length, 2);
    // A caller without a login uid gets an engine whose login uid is the caller's uid, and so have its restored processes.
    const login = before.loginuid === undefined ? {} : { loginuid: String(uids.alice) };
    assert.deepEqual(traitsOf(target.pid), { ...before, ...login });
  });

  it('gets her own limits, groups and priorities back, even if they are unusual', async () => {
    const own = unlikeOthers();
    const [program, ...argv] = [...unlikeOthers(...unshackled()), binary('targets'), 'tree'];
    const file = join(directoryOf('alice', 0o777), 'count');
    const target = new Target(Number(run(program!, ...argv, file)), file);
    const images = directoryOf('alice');
    const before = traitsOf(target.pid);
    assert.deepEqual(
      [before.Groups?.trim(), before.Umask, before.oom_score_adj?.trim(), before.nice],
      ['27 1500 60001', '0137', '300', '5'],
    );
    assert.match(before.limits!, /^Max open files +700 +900 /m);
    if (inVm) assert.equal(before.loginuid, String(uids.alice));
    const dumped = await ask(ReqType.DUMP, images, { pid: target.pid }, ourAddress, own);
    assert.equal(dumped.reply.success, true, JSON.stringify(dumped.reply));
    await target.assertGone();
    const { reply } = await ask(ReqType.RESTORE, images, {}, ourAddress, own);
    assert.equal(reply.success, true, JSON.stringify(reply));
    await target.assertCountsOn();
    assert.deepEqual(traitsOf(target.pid), before);
  });

  it('gets back no process with more capabilities than she has', async () => {
    // A child of root's has sets that no login gives: the restored process gets those of the caller, alice.
    const target = tree();
    const images = directoryOf('alice');
    await ask(ReqType.DUMP, images, { pid: target.pid });
    await target.assertGone();
    const alice = new Client('alice');
    await alice.do('open', 10, 0, images);
    const reply = await alice.ask({ type: ReqType.RESTORE, opts: { images_dir_fd: 10 } }, ourAddress);
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    const members = [target.pid, ...childrenOf(target.pid)];
    const threads = members.flatMap((pid) => readdirSync(`/proc/${pid}/task`).map(Number));
    assert.equal(threads.length, 4);
    for (const set of capabilitySets) {
      const hers = BigInt(`0x${statusLine(alice.pid, set)}`);
      for (const tid of threads) {
        const its = BigInt(`0x${statusLine(tid, set)}`);
        assert.equal(its & ~hers, 0n, `${set} of ${tid} is ${its.toString(16)}`);
      }
    }
  });

  it('gets back a process with a session keyring of its own, neither hers nor the service’s', async () => {
    const target = startCounting('alice', unshackled(), binary('targets'), 'keyring');
    await eventually('it says which keyring it has', () => target.count > 0);
    const images = directoryOf('alice');
    const before = target.count;
    await ask(ReqType.DUMP, images, { pid: target.pid });
    await target.assertGone();
    const { reply } = await ask(ReqType.RESTORE, images, {});
    assert.equal(reply.success, true, JSON.stringify(reply));
    await eventually('it has another one', () => target.count !== before);
    // As alice sees them: she may not look at keyrings of the service's.
    const [file, ...argv] = as('alice');
    const serial = target.count.toString(16).padStart(8, '0');
    const keys = run(file!, ...argv, 'cat', '/proc/keys');
    assert.match(keys, new RegExp(`^${serial} .* 1500 +1500 keyring +_ses`, 'm'));
  });

  it('keeps no_new_privs, under --allow-no-new-privs', async () => {
    const service = await Instance.start('--allow-no-new-privs');
    const own = as('alice', '--no-new-privs');
    try {
      const target = startCounting('alice', ['--no-new-privs'], binary('targets'), 'tree');
      const images = directoryOf('alice');
      await ask(ReqType.DUMP, images, { pid: target.pid }, service.address, own);
      await target.assertGone();
      const { reply } = await ask(ReqType.RESTORE, images, {}, service.address, own);
      assert.equal(reply.success, true, JSON.stringify(reply));
      for (const pid of [target.pid, ...childrenOf(target.pid)]) {
        assert.equal(statusLine(pid, 'NoNewPrivs'), '1');
      }
      await target.assertCountsOn();
    } finally {
      service.stop();
    }
  });

  it('finds what she restores in a login session in a scope of its own in her slice, where an administrator can stop it', async () => {
    const target = tree();
    const images = directoryOf('alice');
    await ask(ReqType.DUMP, images, { pid: target.pid });
    await target.assertGone();
    // Named as systemd-logind names a session of hers: the scope goes into the slice of the caller.
    const session = [
      'systemd-run',
      '--quiet',
      '--scope',
      '--collect',
      '--slice=user-1500.slice',
      `--unit=session-test${process.pid}.scope`,
      ...as('alice'),
    ];
    const { reply } = await ask(ReqType.RESTORE, images, {}, ourAddress, session);
    assert.equal(reply.success, true, JSON.stringify(reply));
    const cgroup = readFileSync(`/proc/${target.pid}/cgroup`, 'utf8');
    const scope = /user-1500\.slice\/(criu-restore-[^/]+\.scope)$/m.exec(cgroup)?.[1];
    assert.ok(scope !== undefined, cgroup);
    assert.match(run('systemctl', 'status', '--no-pager', scope), new RegExp(`\\b${target.pid}\\b`));
    run('systemctl', 'stop', scope);
    await target.assertGone();
  });

  // At its start, a service ends leftovers of an earlier service's unverified restores, and repeats the search until it finds
  // none.
  it('may be the first caller of a starting service: her restore survives the search for leftovers', async () => {
    const target = tree();
    const images = directoryOf('alice');
    const dumped = await ask(ReqType.DUMP, images, { pid: target.pid });
    assert.equal(dumped.reply.success, true, JSON.stringify(dumped.reply));
    await target.assertGone();
    run('systemctl', 'stop', 'criu.service');
    const crowd = spawn('python3', ['-c', sleepers], { stdio: ['pipe', 'pipe', 'inherit'] });
    const left = spawn('systemd-run', [...inScope, ...holdingCapability, 'sleep', '1000'], {
      stdio: 'inherit',
    });
    try {
      await once(crowd.stdout, 'data');
      await eventually(
        'it holds the capability',
        () => statusLine(left.pid!, 'CapPrm') === '0000010000000000',
      );
      const { scripts, reply } = await ask(
        ReqType.RESTORE,
        images,
        { notify_scripts: true },
        ourAddress,
        as('alice'),
        async () => {
          await eventually('what was left is gone', () => left.exitCode !== null || left.signalCode !== null);
          // Longer than another pass of the search takes.
          await new Promise((resolve) => setTimeout(resolve, 1000));
        },
      );
      assert.equal(reply.success, true, JSON.stringify(reply));
      assert.ok(scripts.length > 0);
      await target.assertCountsOn();
    } finally {
      left.kill('SIGKILL');
      crowd.stdin.end();
      await once(crowd, 'exit');
    }
  });

  it('can have a process run on after its dump', async () => {
    const target = tree();
    const opts = { pid: target.pid, leave_running: true };
    const { reply } = await ask(ReqType.DUMP, directoryOf('alice'), opts);
    assert.equal(reply.success, true, JSON.stringify(reply));
    await target.assertCountsOn();
  });

  it('is notified of each step on request', async () => {
    const target = tree();
    const images = directoryOf('alice');
    const dumped = await ask(ReqType.DUMP, images, { pid: target.pid, notify_scripts: true });
    assert.equal(dumped.reply.success, true, JSON.stringify(dumped.reply));
    assert.deepEqual(dumped.scripts, ['pre-dump', 'query-ext-files', 'post-dump']);
    await target.assertGone();
    const restored = await ask(ReqType.RESTORE, images, { notify_scripts: true });
    assert.equal(restored.reply.success, true, JSON.stringify(restored.reply));
    assert.deepEqual(restored.scripts, ['pre-restore', 'post-restore', 'pre-resume', 'post-resume']);
    await target.assertCountsOn();
  });

  it('dumps herself through libcriu, and reads "restored" after her restore', async () => {
    // If her processes need no_new_privs to be restorable, so does she as the caller.
    const service = inVm ? undefined : await Instance.start('--allow-no-new-privs');
    const address = service?.address ?? ourAddress;
    const own = as('alice', ...unshackled());
    const unit = `${service?.unit ?? 'criu'}.service`;
    try {
      // With her own pid CRIU answers when she has ended.
      for (const how of ['plain', 'named']) {
        const images = directoryOf('alice');
        const [count, result] = ['count', 'result'].map((name) => join(directoryOf('alice'), name));
        const [file, ...argv] = [...own, binary('self-dump'), address, images, result!, count!, how];
        const target = new Target(Number(run(file!, ...argv)), count!);
        await target.assertGone();
        assert.equal(existsSync(result!), false);
        const about = [`CRIU_TARGET_PID=${target.pid}`, 'CRIU_RESULT=done', 'CRIU_RESULT=failed'];
        await eventually('the dump is recorded', () => journalOf(unit, ...about).length > 0);
        assert.deepEqual(
          journalOf(unit, ...about).map((record) => record.CRIU_RESULT),
          ['done'],
        );
        const { reply } = await ask(ReqType.RESTORE, images, {}, address, own);
        assert.equal(reply.success, true, JSON.stringify(reply));
        await eventually(
          'it reports',
          () => existsSync(result!) && readFileSync(result!, 'utf8').endsWith('\n'),
        );
        assert.equal(readFileSync(result!, 'utf8').trim(), 'dump 1 errno 0');
        await target.assertCountsOn();
      }
    } finally {
      service?.stop();
    }
  });
});
