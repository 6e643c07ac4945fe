import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  constants as flags,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { native, type OwnedFd, type Process, type SpawnOptions } from '../../src/native/binding.ts';
import {
  cannotShow,
  collect,
  collectUntil,
  countFds,
  exitOf,
  isCloexec,
  isOnEventLoop,
  openNull,
  requireArgumentError,
  requireNativeError,
  requireNoLeak,
  turnLoop,
  withDirectory,
} from './support.ts';

function spawn(file: string, args: string[] = [], options: Partial<SpawnOptions> = {}): Process {
  return native.spawn({ file, argv: [file, ...args], env: [], fds: [], ...options });
}

/** A child that does nothing until it is killed. */
function spawnSleeper(options: Partial<SpawnOptions> = {}): Process {
  return spawn('/bin/sleep', ['600'], options);
}

/** A child that has stopped itself: its loader's files are closed, and it does nothing any more. */
async function spawnStopped(options: Partial<SpawnOptions> = {}): Promise<Process> {
  const child = spawn('/bin/sh', ['-c', 'kill -STOP $$'], options);
  while (stateOf(child.pid) !== 'T') await turnLoop(1);
  return child;
}

/** The output of a shell script on its fd 1, with its exit status. */
async function outputOf(script: string, options: Partial<SpawnOptions> = {}, target = 1): Promise<string> {
  const output = native.memfd('output', 65536);
  const child = spawn('/bin/sh', ['-c', script], {
    ...options,
    fds: [...(options.fds ?? []), { source: output, target }],
  });
  assert.deepEqual(await exitOf(child), { kind: 'exited', code: 0 });
  const text = readFileSync(`/proc/self/fd/${output.number}`, 'latin1').replace(/\0+$/, '');
  output.close();
  child.close();
  return text;
}

function statusOf(pid: number): Map<string, string> {
  return new Map(
    readFileSync(`/proc/${pid}/status`, 'utf8')
      .split('\n')
      .map((line) => line.split(':\t', 2) as [string, string]),
  );
}

async function end(child: Process): Promise<void> {
  const ended = exitOf(child);
  child.signal(constants.signals.SIGKILL);
  assert.deepEqual(await ended, { kind: 'signalled', signal: constants.signals.SIGKILL });
  child.close();
}

function stateOf(pid: number): string | undefined {
  try {
    return /^State:\t(\S)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}

function unifiedMount(): string {
  const line = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((each) => each.includes(' - cgroup2 '));
  return line?.split(' ')[4] ?? '';
}

/** Lends a new cgroup: its directory, and its path as in /proc/PID/cgroup. */
async function withCgroup(
  test: Mocha.Context,
  use: (cgroup: OwnedFd, path: string) => Promise<void>,
): Promise<void> {
  const own = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'latin1'))?.[1] ?? '/';
  const path = join(own, `criu-native-test-${process.pid}`);
  const directory = join(unifiedMount(), path);
  try {
    mkdirSync(directory);
  } catch (error) {
    cannotShow(test, `no cgroup can be made here (${(error as Error).message})`);
  }
  const cgroup = native.open(directory, flags.O_DIRECTORY);
  try {
    await use(cgroup, path);
  } finally {
    cgroup.close();
    // The kernel releases the cgroup a moment after its last process.
    while (existsSync(directory)) {
      try {
        rmdirSync(directory);
      } catch {
        await turnLoop(1);
      }
    }
  }
}

describe('a spawned process', () => {
  it('has default dispositions and an empty mask for all 64 signals, even if the parent ignores some', () => {
    // Node resets the signals up to 31 when it starts and then ignores SIGPIPE. It keeps inherited real-time dispositions, and so
    // would its children.
    const script = `
import os, signal, sys
for number in (34, 50, 64): signal.signal(number, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
`;
    const fixture = fileURLToPath(new URL('./fixtures/spawned-signals.ts', import.meta.url));
    const printed = execFileSync('python3', ['-c', script, process.execPath, '--import=tsx', fixture], {
      encoding: 'utf8',
    });
    const { parent, child } = JSON.parse(printed) as Record<
      'parent' | 'child',
      Record<'ignored' | 'blocked', string>
    >;
    const sigpipe = 1n << 12n;
    const realTime = (1n << 33n) | (1n << 49n) | (1n << 63n);
    assert.equal(BigInt(`0x${parent.ignored}`) & (sigpipe | realTime), sigpipe | realTime);
    assert.deepEqual(child, { ignored: '0'.repeat(16), blocked: '0'.repeat(16) });
  });

  it('leaves the parent’s signal mask and dispositions unchanged', async () => {
    const before = statusOf(process.pid);
    const child = await spawnStopped();
    const after = statusOf(process.pid);
    for (const set of ['SigIgn', 'SigCgt', 'SigBlk']) assert.equal(after.get(set), before.get(set), set);
    await end(child);
  });

  it('leads a session of its own, works in /, and has umask 022 or the given umask', async () => {
    const old = process.umask(0o077);
    const child = await spawnStopped();
    process.umask(old);
    const given = await spawnStopped({ umask: 0o077 });
    assert.equal(statusOf(given.pid).get('Umask'), '0077');
    await end(given);
    const [, , , , group, session] = readFileSync(`/proc/${child.pid}/stat`, 'utf8')
      .replace(/\(.*\)/, '()')
      .split(' ');
    assert.deepEqual([Number(group), Number(session)], [child.pid, child.pid]);
    assert.equal(readlinkSync(`/proc/${child.pid}/cwd`), '/');
    assert.equal(statusOf(child.pid).get('Umask'), '0022');
    await end(child);
  });

  it('has exactly the given directory, arguments and environment', async () => {
    const directory = realpathSync(tmpdir());
    const output = await outputOf('', {
      argv: [
        'sh',
        '-c',
        'pwd; printf "[%s]" "$0" "$@"; printf "\\n"; exec /usr/bin/env',
        'zero',
        '',
        'two words',
      ],
      env: ['A=1', 'B=', 'PWD=overwritten by sh'],
      cwd: directory,
    });
    const lines = output.trim().split('\n');
    assert.equal(lines[0], directory);
    assert.equal(lines[1], '[zero][][two words]');
    assert.deepEqual(lines.slice(2).sort(), ['A=1', 'B=', `PWD=${directory}`]);
  });

  it('holds exactly the given descriptors, at their places', async () => {
    const first = native.memfd('first', 1);
    const second = native.memfd('second', 1);
    // Node's own way to make an inherited descriptor, far up.
    const leaked = openSync('/dev/zero', 'r');
    const child = await spawnStopped({
      fds: [
        { source: second, target: 9 },
        { source: first, target: 3 },
      ],
    });
    assert.deepEqual(layoutOf(child.pid), { 3: 'first', 9: 'second' });
    closeSync(leaked);
    for (const fd of [first, second]) {
      assert.ok(isCloexec(fd.number), 'ours stay CLOEXEC');
      fd.close();
    }
    await end(child);
  });

  it('places descriptors correctly if sources and targets overlap in a cycle', async () => {
    const made = ['a', 'b', 'c', 'd'].map((name) => native.memfd(name, 1));
    const numbers = made.map((fd) => fd.number);
    // Each moves to the place of the next, and the last also to its own place.
    const fds = made.map((source, index) => ({ source, target: numbers[(index + 1) % made.length]! }));
    const rotated = await spawnStopped({ fds });
    assert.deepEqual(layoutOf(rotated.pid), {
      [numbers[1]!]: 'a',
      [numbers[2]!]: 'b',
      [numbers[3]!]: 'c',
      [numbers[0]!]: 'd',
    });
    const inPlace = await spawnStopped({
      fds: [
        { source: made[1]!, target: numbers[1]! },
        { source: made[1]!, target: 0 },
      ],
    });
    assert.deepEqual(layoutOf(inPlace.pid), { [numbers[1]!]: 'b', 0: 'b' });
    for (const fd of made) fd.close();
    await end(rotated);
    await end(inPlace);
  });

  it('starts in the given cgroup', async function () {
    await withCgroup(this, async (cgroup, path) => {
      const text = await outputOf('cat /proc/self/cgroup', { cgroup });
      assert.match(text, new RegExp(`^0::${path}$`, 'm'));
      await requireNoLeak(() => spawn('/bin/true', [], { cgroup }).close());
    });
  });

  it('may have no descriptors at all', async () => {
    const child = await spawnStopped();
    assert.deepEqual(layoutOf(child.pid), {});
    await end(child);
  });

  it('is held by a CLOEXEC pidfd that names it', async () => {
    const child = await spawnStopped();
    assert.ok(isCloexec(child.pidfd.number));
    assert.match(
      readFileSync(`/proc/self/fdinfo/${child.pidfd.number}`, 'utf8'),
      new RegExp(`^Pid:\\t${child.pid}$`, 'm'),
    );
    assert.equal(child.pidfd, child.pidfd);
    await end(child);
  });

  it('leaves no descriptor, whether it has ended or not', async () => {
    const running: Process[] = [];
    requireNoLeak(() => {
      const child = spawn('/bin/sleep', ['600']);
      running.push(child);
      child.signal(constants.signals.SIGKILL);
      child.close();
    }, 20);
    await turnLoop();
  });
});

describe('a spawn that fails', () => {
  it('throws the errno and the step, and leaves no descriptor and no child', () => {
    const children = () => readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8');
    const before = children();
    const fd = openNull();
    requireNoLeak(() => {
      const error = requireNativeError(
        () => spawn('/nonexistent', [], { fds: [{ source: fd, target: 3 }] }),
        'ENOENT',
        'execve',
      );
      assert.match(error.message, /\/nonexistent/);
      requireNativeError(() => spawn('/etc/passwd'), 'EACCES', 'execve');
      requireNativeError(() => spawn('/bin/true', [], { cwd: '/nonexistent' }), 'ENOENT', 'chdir');
      // Above every possible RLIMIT_NOFILE (fs.nr_open).
      requireNativeError(
        () => spawn('/bin/true', [], { fds: [{ source: fd, target: 2 ** 31 - 2 }] }),
        'EINVAL',
        'fcntl',
      );
    }, 20);
    assert.equal(children(), before);
    fd.close();
  });

  it('reports a removed cgroup, and a directory that is not a cgroup', async function () {
    const none = native.open('/', flags.O_DIRECTORY);
    requireNativeError(() => spawnSleeper({ cgroup: none }), 'EBADF', 'clone3');
    none.close();
    await withCgroup(this, async (cgroup, path) => {
      rmdirSync(join(unifiedMount(), path));
      requireNativeError(() => spawnSleeper({ cgroup }), 'ENOENT', 'clone3');
    });
  });

  it('reports a file that is not a program', () => {
    withDirectory((directory) => {
      const file = join(directory, 'no-program');
      writeFileSync(file, '\x7fNOT');
      chmodSync(file, 0o755);
      requireNativeError(() => spawn(file), 'ENOEXEC', 'execve');
    });
  });

  it('names a wrong argument before anything is started', () => {
    const fd = openNull();
    const closed = openNull();
    closed.close();
    const wrong: [string, unknown][] = [
      ['options', undefined],
      ['options.file', { file: 'relative' }],
      ['options.file', { file: '/a\0b' }],
      ['options.argv', { argv: [] }],
      ['options.argv', { argv: 'text' }],
      ['options.argv[1]', { argv: ['a', 1] }],
      ['options.argv[0]', { argv: ['a\0b'] }],
      ['options.env', { env: undefined }],
      ['options.env[0]', { env: [null] }],
      ['options.cwd', { cwd: 7 }],
      ['options.fds', { fds: undefined }],
      ['options.fds[0]', { fds: [3] }],
      ['options.fds[0].source', { fds: [{ source: closed, target: 0 }] }],
      [
        'options.fds[1].target',
        {
          fds: [
            { source: fd, target: 0 },
            { source: fd, target: -1 },
          ],
        },
      ],
      ['options.umask', { umask: 0o1000 }],
      [
        'options.fds',
        {
          fds: [
            { source: fd, target: 3 },
            { source: fd, target: 3 },
          ],
        },
      ],
    ];
    for (const [name, options] of wrong) {
      const whole =
        options === undefined
          ? undefined
          : { file: '/bin/true', argv: ['true'], env: [], fds: [], ...(options as object) };
      requireArgumentError(() => native.spawn(whole as SpawnOptions), name);
    }
    fd.close();
  });
});

describe('onExit', () => {
  it('tells how a child ended: its exit status, or its signal', async () => {
    for (const code of [0, 1, 7, 255]) {
      const child = spawn('/bin/sh', ['-c', `exit ${code}`]);
      assert.deepEqual(await exitOf(child), { kind: 'exited', code });
      child.close();
    }
    for (const signal of [constants.signals.SIGTERM, constants.signals.SIGPIPE, constants.signals.SIGXFSZ]) {
      const child = spawnSleeper();
      const ended = exitOf(child);
      assert.equal(child.signal(signal), true);
      assert.deepEqual(await ended, { kind: 'signalled', signal });
      child.close();
    }
  });

  it('reaps the child, also a child that ended long before', async () => {
    const child = spawn('/bin/true');
    while (stateOf(child.pid) !== 'Z') await turnLoop(1);
    assert.deepEqual(await exitOf(child), { kind: 'exited', code: 0 });
    assert.ok(!existsSync(`/proc/${child.pid}`));
    assert.equal(child.signal(constants.signals.SIGTERM), false, 'a process that has ended is no error');
    child.close();
  });

  it('calls back once, never synchronously, and not after close()', async () => {
    const child = spawn('/bin/true');
    while (stateOf(child.pid) !== 'Z') await turnLoop(1);
    let calls = 0;
    child.onExit(() => {
      calls += 1;
    });
    assert.equal(calls, 0);
    assert.throws(() => child.onExit(() => undefined), /calls back once/);
    await turnLoop();
    assert.equal(calls, 1);
    child.close();

    const closed = spawn('/bin/true');
    closed.onExit(() => assert.fail('closed'));
    closed.close();
    while (stateOf(closed.pid) !== undefined && stateOf(closed.pid) !== 'Z') await turnLoop(1);
    await turnLoop();
  });

  it('leaves the pid to the child that has ended, until releasePid()', async () => {
    const child = spawn('/bin/true');
    const ended = exitOf(child);
    assert.equal(child.keepPid(), true);
    while (stateOf(child.pid) !== 'Z') await turnLoop(1);
    await turnLoop();
    assert.equal(stateOf(child.pid), 'Z');
    child.releasePid();
    assert.deepEqual(await ended, { kind: 'exited', code: 0 });
    assert.equal(child.keepPid(), false);
    child.close();
  });

  it('stops watching when the pidfd is closed or given away', async () => {
    const child = spawnSleeper();
    child.onExit(() => assert.fail('the pidfd was given away'));
    await turnLoop();
    const { number } = child.pidfd;
    assert.ok(isOnEventLoop(number));
    const taken = native.adoptProcess(child.pidfd, child.pid);
    assert.equal(child.pidfd.number, -1);
    assert.ok(!isOnEventLoop(number));
    requireNativeError(() => child.signal(0), 'EBADF', 'pidfd_send_signal');
    child.close();
    await end(taken);
  });

  it('of a process that is not our child reports only that it ended', async () => {
    // The shell's child outlives it and is adopted by init (or a subreaper), not by this process.
    const pid = Number(await outputOf('sleep 600 >/dev/null & echo $!'));
    const stranger = native.adoptProcess(native.pidfdOpen(pid), pid);
    const ended = exitOf(stranger);
    assert.equal(stranger.signal(constants.signals.SIGKILL), true);
    assert.deepEqual(await ended, { kind: 'unknown' });
    stranger.close();
  });

  it('of a child adopted by its pidfd still tells its status', async () => {
    const child = spawn('/bin/sh', ['-c', 'exit 9']);
    const taken = native.adoptProcess(native.duplicate(child.pidfd), child.pid);
    assert.deepEqual(await exitOf(taken), { kind: 'exited', code: 9 });
    assert.deepEqual(await exitOf(child), { kind: 'unknown' }, 'reaped already');
    taken.close();
    child.close();
  });

  it('of a forgotten process is called all the same', async () => {
    await collect();
    const before = countFds();
    const trigger = native.socketpair();
    const ended = (() =>
      exitOf(
        spawn('/bin/sh', ['-c', 'read line; exit 3'], { fds: [{ source: trigger.theirs, target: 0 }] }),
      ))();
    trigger.theirs.close();
    await collect();
    trigger.ours.close();
    assert.deepEqual(await ended, { kind: 'exited', code: 3 });
    assert.ok(await collectUntil(() => countFds() <= before), 'its pidfd goes with it');
  });
});

describe('close', () => {
  it('reaps an ended child, leaves a running child alone, and may be repeated', async () => {
    const ended = spawn('/bin/true');
    while (stateOf(ended.pid) !== 'Z') await turnLoop(1);
    ended.close();
    ended.close();
    assert.ok(!existsSync(`/proc/${ended.pid}`));
    assert.equal(ended.pidfd.number, -1);
    requireNativeError(() => ended.signal(0), 'EBADF', 'pidfd_send_signal');
    requireNativeError(() => ended.onExit(() => undefined), 'EBADF', 'uv_poll_start');

    const running = spawnSleeper();
    const kept = native.adoptProcess(native.duplicate(running.pidfd), running.pid);
    running.close();
    assert.equal(kept.signal(0), true);
    await end(kept);
  });
});

describe('signal and adoptProcess', () => {
  it('refuse a wrong signal or pidfd, by name', () => {
    const child = spawnSleeper();
    for (const wrong of [-1, 65, 1.5]) requireArgumentError(() => child.signal(wrong), 'signal');
    const file = openNull();
    requireArgumentError(() => native.adoptProcess(file, 1), 'pidfd');
    assert.ok(file.number >= 0, 'a refused descriptor stays with its owner');
    requireArgumentError(() => native.adoptProcess(child.pidfd, -1), 'pid');
    requireArgumentError(() => child.onExit(undefined as unknown as () => void), 'callback');
    child.signal(constants.signals.SIGKILL);
    file.close();
    child.close();
  });

  it('only the addon makes a Process', () => {
    const child = spawn('/bin/true');
    const { constructor: Made } = child as unknown as { constructor: new (...args: unknown[]) => Process };
    assert.throws(() => new Made(), TypeError);
    child.close();
  });
});

/** The descriptor numbers of a process, and the memfd behind each. */
function layoutOf(pid: number): Record<number, string> {
  const layout: Record<number, string> = {};
  for (let number = 0; number < 1024; number += 1) {
    let target: string;
    try {
      target = readlinkSync(`/proc/${pid}/fd/${number}`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw error;
    }
    layout[number] = /^\/memfd:(\w+)/.exec(target)?.[1] ?? target;
  }
  return layout;
}
