/** criuctl from the package, as root and as alice, with a terminal and without. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { unshackled } from '../hostile/support/images.ts';
import { as, directoryOf, startCounting, type User } from '../hostile/support/people.ts';
import { binary, eventually, freshDirectory, run, script } from './support/bench.ts';
import { criuctl, criuctlAs, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { records } from './support/journal.ts';
import { childrenOf, statusLine } from './support/proc.ts';
import { Target } from './support/targets.ts';

/** The output at a terminal: everything that was written to it. */
function atTerminalAs(user: User, ...argv: string[]): { readonly status: number; readonly screen: string } {
  const [file, ...rest] = [...as(user), '/usr/bin/python3', script('terminal.py'), 'criuctl', ...argv];
  return JSON.parse(run(file!, ...rest));
}

/** The output without cursor movements and colours. */
function bare(screen: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what is removed
  return screen.replace(/\x1b\[[0-9;?]*[A-Za-z]/g, '').replaceAll('\r', '\n');
}

const alicesTarget = (): Target => startCounting('alice', unshackled(), binary('counter'));

/**
 * The words of each line after a shell with its user's usual settings has completed the last of them. The completion must be
 * unique.
 */
function completed(shell: 'bash' | 'zsh' | 'fish', lines: readonly string[]): string[][] {
  const typed = lines.map((line) => `criuctl ${line}`);
  if (shell !== 'fish') {
    return JSON.parse(run('/usr/bin/python3', script('complete.py'), freshDirectory(), shell, ...typed));
  }
  const ask = 'for line in $argv; complete --do-complete $line; end';
  const offered = run('fish', '--command', ask, ...typed)
    .trim()
    .split('\n');
  assert.equal(offered.length, lines.length, offered.join('\n'));
  return lines.map((line, index) => [...line.split(' ').slice(0, -1), offered[index]!.split('\t')[0]!]);
}

describe('criuctl', () => {
  it('dumps and restores as the specification’s example says it, and prints only the pid', async () => {
    const target = Target.start();
    const images = freshDirectory();
    const dumped = must(criuctl('dump', '-t', `${target.pid}`, '-D', images));
    assert.deepEqual([dumped.stdout, dumped.stderr], [`${images}\n`, '']);
    await target.assertGone();
    const restored = must(criuctl('restore', '-D', images, '-v4', '-o', 'restore.log'));
    assert.deepEqual([restored.stdout, restored.stderr], [`${target.pid}\n`, '']);
    assert.match(readFileSync(join(images, 'restore.log'), 'utf8'), /^\(\d+\.\d+\) pie: /m);
    await target.assertCountsOn();
  });

  it('dumps a process of alice’s for alice, and restores it', async () => {
    const target = alicesTarget();
    const images = directoryOf('alice');
    must(criuctlAs('alice', 'dump', `${target.pid}`, '-D', images));
    await target.assertGone();
    assert.equal(must(criuctlAs('alice', 'restore', '-D', images)).stdout, `${target.pid}\n`);
    assert.equal(statusLine(target.pid, 'Uid')?.split('\t')[0], '1500');
    await target.assertCountsOn();
  });

  it('shows alice a bar with phases at a terminal, and then a summary', async () => {
    const target = alicesTarget();
    const images = directoryOf('alice');
    const dump = atTerminalAs('alice', 'dump', `${target.pid}`, '-D', images);
    assert.equal(dump.status, 0, dump.screen);
    const dumped = bare(dump.screen);
    assert.match(dumped, /dump \|░+\| 0% of [0-9.]+ [KM]iB {2}asking/);
    assert.match(dumped, /\d+% of [0-9.]+ [KM]iB {2}(freezing|looking for files|finishing)/);
    assert.match(dumped, /dump \|█+\| 100% of [0-9.]+ [KM]iB {2}done/);
    assert.match(dumped, new RegExp(`^Process ${target.pid} is in ${images}$`, 'm'));
    assert.match(dumped, /^frozen for {5}[0-9.]+ (µs|ms|s), after/m);
    assert.match(dumped, /^pages written {2}[1-9][0-9]* of [1-9]/m);
    await target.assertGone();
    const restore = atTerminalAs('alice', 'restore', '-D', images);
    const restored = bare(restore.screen);
    assert.equal(restore.status, 0, restored);
    assert.match(restored, /restore \|█+\| 100% of [0-9.]+ [KM]iB {2}done/);
    // A phase that ends before the next frame is not drawn.
    assert.match(restored, /\d+% of [0-9.]+ [KM]iB {2}(starting|restored|letting it run|running)/);
    assert.match(restored, new RegExp(`^Process ${target.pid} runs again$`, 'm'));
    assert.match(restored, /^pages restored {2}[1-9]/m);
    await target.assertCountsOn();
  });

  it('answers programs in JSON, with CRIU’s statistics', async () => {
    const target = Target.start();
    const images = freshDirectory();
    const dumped = JSON.parse(must(criuctl('dump', `${target.pid}`, '-R', '-D', images, '--json')).stdout);
    assert.deepEqual([dumped.verb, dumped.pid, dumped.imagesDir], ['dump', target.pid, images]);
    assert.ok(existsSync(dumped.log));
    const { frozenUsec, pagesWritten, pagesScanned } = dumped.statistics;
    assert.ok(frozenUsec > 0 && pagesWritten > 0 && pagesWritten <= pagesScanned);
    assert.ok(dumped.bytes > pagesWritten * 4096);
    const again = criuctl('restore', '-D', images, '--json');
    assert.equal(again.status, 1);
    assert.equal(again.stdout, '');
    const error = JSON.parse(again.stderr);
    assert.deepEqual([error.success, error.code, error.errno], [false, 'FAILED', 'EEXIST']);
    await target.assertCountsOn();
  });

  it('checks, and reports the version and the features, without leaving a file', async () => {
    for (const user of ['root', 'alice'] as const) {
      assert.equal(must(criuctlAs(user, 'check')).stdout, '');
      const { findings } = JSON.parse(must(criuctlAs(user, 'check', '--json')).stdout);
      assert.deepEqual(
        findings.map(({ subject }: { subject: string }) => subject),
        ['CRIU', 'Linux', 'Yama', 'pids', 'kernel facts'],
      );
      assert.match(must(criuctlAs(user, 'version')).stdout, /^\d+\.\d+(\.\d+)?\n$/);
      assert.match(
        must(criuctlAs(user, 'features')).stdout,
        /^mem-track (yes|no)\nlazy-pages (yes|no)\npidfd-store yes\n$/,
      );
    }
    assert.deepEqual(
      readdirSync(tmpdir()).filter((name) => name.startsWith('criuctl-')),
      [],
    );
    const images = freshDirectory();
    must(criuctl('cpuinfo', 'dump', '-D', images));
    must(criuctl('cpuinfo', 'check', '-D', images));
  });

  it('tells how to start a service that does not run', async () => {
    run('systemctl', 'stop', 'criu.socket', 'criu.service');
    try {
      failed(
        criuctl('version'),
        4,
        /Cannot connect to \/run\/criu-service\.socket/,
        /systemctl enable --now criu\.socket/,
      );
      assert.equal(criuctl('status').status, 4);
    } finally {
      run('systemctl', 'start', 'criu.socket');
    }
    must(criuctl('version'));
  });

  it('reports that a process belongs to another user, and the process runs on', async () => {
    const target = Target.start();
    const dumped = criuctlAs('alice', 'dump', `${target.pid}`, '-D', directoryOf('alice'));
    failed(dumped, 3, /has the uid 0, and yours is 1500/, /belongs to root/);
    await target.assertCountsOn();
    failed(criuctl('dump', '2147483', '-D', freshDirectory()), 1, /ended|no such process/);
  });

  it('reports a missing directory, and a directory whose images it does not trust', async () => {
    failed(criuctl('dump', '1', '-D', '/no/images'), 5, /Create it: mkdir -p \/no\/images/);
    failed(criuctl('restore', '-D', '/no/images'), 5, /with -D/);
    const target = Target.start();
    const images = freshDirectory();
    must(criuctl('dump', `${target.pid}`, '-D', images));
    chmodSync(images, 0o777);
    failed(criuctl('restore', '-D', images), 3, /can be written by others \(mode 777\)/, /--trust-images/);
    must(criuctl('restore', '-D', images, '--trust-images'));
    const empty = freshDirectory();
    failed(
      criuctl('restore', '-D', empty),
      1,
      /Unexpected EOF/,
      new RegExp(`There are no images in ${empty}: .* -D`),
    );
    await target.assertCountsOn();
  });

  it('never mixes two dumps in a directory: a dump that fails over a good one leaves it as it was', async () => {
    const good = Target.start();
    const images = freshDirectory();
    must(criuctl('dump', `${good.pid}`, '-R', '-D', images));
    // Without the look of criuctl, CRIU finds the lock when it has begun to write.
    const lock =
      'import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); time.sleep(1000)';
    const locking = spawn('setsid', ['python3', '-c', lock, '/etc/passwd'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    try {
      await once(locking.stdout!, 'data');
      const other = ['dump', `${locking.pid}`, '-D', images];
      failed(criuctl(...other), 3, /holds images of an earlier dump/, /--replace/);
      failed(criuctl(...other, '--force', '--replace'), 1, /The earlier images in \S+ are as they were/);
    } finally {
      locking.kill('SIGKILL');
    }
    await good.kill();
    must(criuctl('restore', '-D', images));
    await good.assertCountsOn();
    const before = good.count;
    must(criuctl('dump', `${good.pid}`, '-D', images, '--replace'));
    await good.assertGone();
    must(criuctl('restore', '-D', images));
    assert.ok(good.count >= before);
    await good.assertCountsOn();
    assert.deepEqual(
      readdirSync(dirname(images)).filter((name) => name.startsWith(`.${basename(images)}`)),
      [],
    );
  });

  it('removes the images of a failed dump, and never restores a dump that did not finish', async () => {
    const target = Target.start();
    const images = join(freshDirectory(), 'new');
    must(criuctl('dump', `${target.pid}`, '-R', '-D', images));
    rmSync(join(images, 'inventory.img'));
    failed(criuctl('restore', '-D', images), 3, /is incomplete: .*inventory\.img is missing/);
    failed(criuctl('dump', `${target.pid}`, '-D', images), 3, /a dump that did not finish/);
    await target.assertCountsOn();
  });

  it('names the process that has the pid of a restore', async () => {
    const target = Target.start();
    const images = freshDirectory();
    must(criuctl('dump', `${target.pid}`, '-R', '-D', images));
    const sentence = new RegExp(`Process ${target.pid} exists: it is counter of root`);
    failed(
      criuctl('restore', '-D', images),
      1,
      sentence,
      /Error \(criu\//,
      new RegExp(`CRIU's log: ${images}/restore\\.log`),
    );
    await target.assertCountsOn();
  });

  it('reports a full disk, and the process runs on', async () => {
    const target = Target.start();
    const images = freshDirectory();
    run('mount', '-t', 'tmpfs', '-o', 'size=64k,mode=700', 'tmpfs', images);
    try {
      failed(
        criuctl('dump', `${target.pid}`, '-D', images),
        1,
        /No space left on device/,
        /is full: \d+ bytes are left/,
      );
    } finally {
      run('umount', images);
    }
    await target.assertCountsOn();
  });

  it('suggests --shell-job for a process that has a terminal', async () => {
    const terminal = spawn('script', ['-qec', 'exec sleep 1000', '/dev/null'], { stdio: 'ignore' });
    try {
      await eventually('it runs', () =>
        childrenOf(terminal.pid!).some((pid) => statusLine(pid, 'Name') === 'sleep'),
      );
      const [sleeper] = childrenOf(terminal.pid!);
      failed(
        criuctl('dump', `${sleeper}`, '-D', freshDirectory()),
        3,
        /comes back with --shell-job: .*\/dev\/pts\/\d+.*script \(process \d+\)/,
        /Try it with --shell-job:\n {2}criuctl dump \d+ -D \S+ --shell-job\n/,
      );
      failed(
        criuctl('dump', `${sleeper}`, '--force', '-D', freshDirectory()),
        1,
        /tty/,
        /Try it with --shell-job/,
      );
    } finally {
      terminal.kill('SIGKILL');
    }
  });

  it('shows the state of the service, and to root its last requests', async () => {
    const target = Target.start();
    must(criuctl('dump', `${target.pid}`, '-R', '-D', freshDirectory()));
    await records(1, `CRIU_TARGET_PID=${target.pid}`, 'CRIU_RESULT=done');
    const { recent, socket, limits } = JSON.parse(must(criuctl('status', '--json', '-n', '2')).stdout);
    assert.equal(socket.ActiveState, 'active');
    assert.ok(limits.engines > limits.enginesPerUser && limits.enginesPerUser > 0);
    assert.equal(recent.length, 2);
    // After a dump criuctl asks for the version, which the journal has at the level of these tests.
    const last = recent.findLast(({ request }: { request: string }) => request !== 'VERSION');
    assert.deepEqual(
      [last.request, last.result, last.targetPid, last.callerUid],
      ['DUMP', 'done', target.pid, 0],
    );
    const { status, screen } = atTerminalAs('root', 'status');
    assert.equal(status, 0);
    assert.match(bare(screen), /^criu\.socket {3}listens on \/run\/criu-service\.socket \(0666\)/m);
    assert.match(bare(screen), /^limits .*\d+ CRIU processes, \d+ of one user; everybody may restore$/m);
    assert.match(bare(screen), new RegExp(`done +DUMP +${target.pid} +root \\(pid `));
    assert.equal(must(criuctlAs('alice', 'status')).stdout, 'listening\n');
    assert.match(
      bare(atTerminalAs('alice', 'status').screen),
      /groups adm and systemd-journal|No request yet/,
    );
    await target.assertCountsOn();
  });

  for (const shell of ['bash', 'zsh', 'fish'] as const) {
    it(`is completed by ${shell} with the files of the package`, async () => {
      const lines = ['du', 'loo', 'dump --leave-r', 'cpuinfo ch', 'restore -D /usr/share/bash-compl'];
      assert.deepEqual(
        // Some shells add a slash at the end.
        completed(shell, lines).map((words) => words.join(' ').replace(/\/$/, '')),
        ['dump', 'look', 'dump --leave-running', 'cpuinfo check', 'restore -D /usr/share/bash-completion'],
      );
    });
  }
});
