import { strict as assert } from 'node:assert';
import { spawn, spawnSync } from 'node:child_process';
import {
  constants,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { constants as os, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { native, type ProcQuestion } from '../../src/native/binding.ts';
import { collect, countFds, isOpen, noMoreFdsThan, openNull, requireArgumentError } from './support.ts';

const addonPath = join(import.meta.dirname, '..', '..', 'native', 'build', 'Release', 'criu_service.node');
const directoryFlags = constants.O_RDONLY | constants.O_DIRECTORY;

const lingering = join(import.meta.dirname, 'fixtures', 'lingering.py');

/** The fdinfo of a descriptor of this process, without the flags that it was opened with. */
const withoutNumber = (fdinfo: string | number): string => String(fdinfo).replace(/^(flags|ino):.*$/gm, '');

describe('readElsewhere', () => {
  it('gives the same answers as a reading on this thread', async () => {
    const self = native.open('/proc/self', directoryFlags);
    const questions: ProcQuestion[] = [
      { read: 'file', path: 'auxv' },
      { read: 'link', path: 'ns/user' },
      { read: 'names', path: 'ns' },
      { read: 'mount', path: 'root' },
    ];
    const answers = await native.readElsewhere(self, questions);
    const [auxv, user, ns, root] = answers as string[];
    assert.deepEqual(
      native.readAtOnce(self, questions).map((answer, at) => (at === 3 ? withoutNumber(answer) : answer)),
      answers.map((answer, at) => (at === 3 ? withoutNumber(answer) : answer)),
    );
    self.close();
    assert.equal(auxv, readFileSync('/proc/self/auxv', 'latin1'));
    assert.equal(user, readlinkSync('/proc/self/ns/user'));
    assert.deepEqual(ns!.split('\n').slice(0, -1).sort(), readdirSync('/proc/self/ns').sort());
    assert.match(root!, /^\/\n(.*\n)*mnt_id:\t\d+$/m);
  });

  it('finds the parent of a process with any name', () => {
    assert.equal(native.parentOf(process.pid), process.ppid);
    assert.equal(native.parentOf(1), 0);
    assert.equal(native.parentOf(2 ** 30), undefined);
    const imitating = `
import os, sys
open('/proc/self/comm', 'w').write('a) S 1 (b')
print(os.getpid(), flush=True)
sys.stdin.read()
`;
    const child = spawn('python3', ['-c', imitating], { stdio: ['pipe', 'pipe', 'inherit'] });
    return new Promise<void>((resolve, reject) => {
      child.stdout.once('data', (said) => {
        try {
          assert.match(readFileSync(`/proc/${child.pid}/stat`, 'latin1'), /^\d+ \(a\) S 1 \(b\)/);
          assert.equal(native.parentOf(Number(said)), process.pid);
          resolve();
        } catch (error) {
          reject(error);
        } finally {
          child.stdin.end();
        }
      });
    });
  });

  it('reads the owner and the children of every thread of a process', async () => {
    const proc = native.open('/proc', directoryFlags);
    const questions = [process.ppid, process.pid].map((pid) => ({
      read: 'tasks' as const,
      path: String(pid),
    }));
    const [parent, own] = (await native.readElsewhere(proc, questions)) as string[];
    proc.close();
    const lines = own!.split('\n');
    const status = readFileSync('/proc/self/status', 'latin1').split('\n');
    assert.ok(own!.startsWith('State:\t'));
    for (const name of [
      'Pid',
      'TracerPid',
      'Uid',
      'Gid',
      'Groups',
      'CapPrm',
      'CapBnd',
      'NoNewPrivs',
      'Seccomp',
    ]) {
      const line = status.find((each) => each.startsWith(`${name}:`))!;
      assert.ok(lines.includes(line), line);
    }
    const tids = lines.filter((line) => line.startsWith('Pid:')).map((line) => line.slice('Pid:\t'.length));
    // Threads come and go; those of Node's pool stay.
    assert.ok(readdirSync('/proc/self/task').filter((tid) => tids.includes(tid)).length > 1);
    assert.match(parent!, new RegExp(`^Children:\t(\\d+ )*${process.pid} `, 'm'));
    assert.ok(!/^(Name|FDSize):/m.test(own!));
    assert.ok(lines.includes('Groups:\t='), 'threads with the same groups repeat them');
  });

  it('reads the groups of threads only as far as they could be compared, however many a user gives them', async () => {
    const root = mkdtempSync(join(tmpdir(), 'criu-groups-'));
    const thread = (pid: number, tid: number, groups: string): void => {
      const directory = join(root, String(pid), 'task', String(tid));
      mkdirSync(directory, { recursive: true });
      writeFileSync(join(root, String(pid), 'status'), 'Threads:\t9\n');
      writeFileSync(join(directory, 'status'), `Pid:\t${tid}\nGroups:\t${groups}\n`);
      writeFileSync(join(directory, 'children'), '');
    };
    const list = (from: number, count: number): string =>
      Array.from({ length: count }, (_, at) => `${from + at} `).join('');
    const most = list(4_000_000_000, 512);
    for (const tid of [10, 11]) thread(7, tid, most);
    thread(7, 12, list(4_000_000_000, 800));
    for (let tid = 20; tid < 60; tid += 1) thread(8, tid, list(4_000_000_000 + tid, 512));
    const directory = native.open(root, directoryFlags);
    const questions = ['7', '8'].map((path) => ({ read: 'tasks', path }) as const);
    const texts = (await native.readElsewhere(directory, questions)) as string[];
    directory.close();
    rmSync(root, { recursive: true });
    const [same, different] = texts.map((text) =>
      [...text.matchAll(/^Groups:\t(.*)$/gm)].map(([, groups]) => groups!),
    );
    assert.deepEqual(same!.sort(), ['+', most, '='].sort());
    assert.equal(different!.length, 40);
    assert.ok(different!.join('').length <= 64 * 1024 + 40);
    assert.ok(different!.filter((groups) => groups === '+').length > 20);
  });

  it('reads all ancestors of a process, of any number, and stops on a parent cycle', async () => {
    const root = mkdtempSync(join(tmpdir(), 'criu-lineage-'));
    const descends = (pid: number, from: number): void => {
      mkdirSync(join(root, String(pid)));
      writeFileSync(
        join(root, String(pid), 'status'),
        `Name:\ta PPid: 1\nPid:\t${pid}\nPPid:\t${from}\nTracerPid:\t0\n`,
      );
    };
    const ask = async (path: string) => {
      const directory = native.open(root, directoryFlags);
      const [answer] = await native.readElsewhere(directory, [{ read: 'lineage', path }]);
      directory.close();
      return answer as string;
    };
    try {
      descends(9, 8);
      descends(8, 1);
      descends(1, 0);
      assert.equal(await ask('9'), '9 8 1 ');
      assert.equal(await ask('7'), '7 ', 'one that has gone');
      descends(20, 21);
      descends(21, 20);
      assert.equal((await ask('20')).split(' ').length, 100_001);
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  it('reads every thread of a process, or tells that a thread is unreadable', async () => {
    const root = mkdtempSync(join(tmpdir(), 'criu-tasks-'));
    const thread = join(root, '7', 'task', '7');
    const ask = async () => {
      const directory = native.open(root, directoryFlags);
      const [answer] = await native.readElsewhere(directory, [{ read: 'tasks', path: '7' }]);
      directory.close();
      return answer;
    };
    try {
      mkdirSync(thread, { recursive: true });
      writeFileSync(join(thread, 'status'), 'Pid:\t7\n');
      assert.equal(await ask(), '', 'it has ended');
      // If status tells a single thread, no other threads are read.
      writeFileSync(join(root, '7', 'status'), 'Pid:\t7\nThreads:\t1\nNoNewPrivs:\t0\n');
      writeFileSync(join(thread, 'children'), '8 9 ');
      assert.equal(await ask(), 'Pid:\t7\nNoNewPrivs:\t0\nChildren:\t8 9 \n');
      writeFileSync(join(root, '7', 'status'), 'Pid:\t7\nThreads:\t2\nNoNewPrivs:\t0\n');
      assert.equal(await ask(), 'Pid:\t7\nChildren:\t8 9 \n');
      // The largest number of threads for one user, if an administrator allows it.
      writeFileSync(join(thread, 'children'), '1234567 '.repeat(100_000));
      assert.equal(((await ask()) as string).length, 'Pid:\t7\nChildren:\t\n'.length + 800_000);
      writeFileSync(join(thread, 'children'), '1234567 '.repeat(200_000));
      assert.equal(await ask(), os.errno.EFBIG);
      rmSync(join(thread, 'children'));
      mkdirSync(join(thread, 'children'));
      assert.equal(await ask(), os.errno.EISDIR);
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  it('answers an unreadable file with an errno, and then answers the next question', async () => {
    const directory = native.open('/proc/self', directoryFlags);
    const answers = await native.readElsewhere(directory, [
      { read: 'file', path: 'nothing' },
      { read: 'link', path: 'status' },
      { read: 'names', path: 'status' },
      { read: 'mount', path: 'exe' },
      { read: 'file', path: 'comm' },
    ]);
    directory.close();
    const { ENOENT, EINVAL, ENOTDIR } = os.errno;
    assert.deepEqual(answers, [ENOENT, EINVAL, ENOTDIR, ENOTDIR, readFileSync('/proc/self/comm', 'latin1')]);
  });

  it('outlives the descriptor of its directory, and leaves no descriptor', async () => {
    await collect();
    const before = countFds();
    for (let round = 0; round < 50; round += 1) {
      const directory = native.open('/proc/self', directoryFlags);
      const reading = native.readElsewhere(directory, [{ read: 'file', path: 'comm' }]);
      directory.close();
      assert.equal(typeof (await reading)[0], 'string');
    }
    await noMoreFdsThan(before);
  });

  it('lets a program end before the answer', () => {
    const script = `
      const addon = { exports: {} };
      process.dlopen(addon, ${JSON.stringify(addonPath)});
      const directory = addon.exports.open('/proc/self', ${directoryFlags});
      for (let i = 0; i < 20; i += 1) addon.exports.readElsewhere(directory, [{ read: 'file', path: 'comm' }]);`;
    const { status, signal, stderr } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' });
    assert.deepEqual([status, signal, stderr], [0, null, '']);
  });

  it('refuses unknown questions', () => {
    const directory = openNull();
    const ask = (question: unknown) => () => native.readElsewhere(directory, [question as ProcQuestion]);
    requireArgumentError(ask({ read: 'all', path: 'x' }), 'questions[0].read');
    requireArgumentError(ask({ read: 'file' }), 'questions[0].path');
    requireArgumentError(ask('status'), 'questions[0]');
    directory.close();
  });
});

describe('closeElsewhere', () => {
  it('closes descriptors of every lane', async () => {
    const fds = Array.from({ length: 20 }, () => openNull());
    const numbers = fds.map((fd) => fd.number);
    fds.forEach((fd, i) => {
      native.closeElsewhere(fd, i % 3);
    });
    assert.ok(fds.every((fd) => fd.number === -1));
    for (let tries = 0; numbers.some(isOpen); tries += 1) {
      assert.ok(tries < 100_000, `${numbers.filter(isOpen)} are still open`);
      await sleep(1);
    }
  });

  it('uses threads that receive no signals', async () => {
    const { ours, theirs } = native.socketpair();
    const stdio = native.socketpair();
    const child = native.spawn({
      file: '/usr/bin/env',
      argv: ['env', 'python3', lingering, '00'],
      env: [`PATH=${process.env.PATH}`],
      fds: [
        { source: theirs, target: 3 },
        { source: stdio.theirs, target: 0 },
        { source: stdio.theirs, target: 1 },
      ],
    });
    theirs.close();
    stdio.theirs.close();
    // It says so when it has let go of the descriptor: from then on, the queue has the only one.
    for (let tries = 0; stdio.ours.peek(100).kind !== 'packet'; tries += 1) {
      assert.ok(tries < 100_000, 'nothing was sent');
      await sleep(1);
    }
    const before = new Set(readdirSync('/proc/self/task'));
    native.closeElsewhere(ours.release(), 7);
    const status = (): string => {
      const [tid] = readdirSync('/proc/self/task').filter((each) => !before.has(each));
      try {
        return tid === undefined ? '' : readFileSync(`/proc/self/task/${tid}/status`, 'utf8');
      } catch {
        // It has ended meanwhile.
        return '';
      }
    };
    // Wait until the thread is inside close(2).
    for (let tries = 0; !/^State:\t[SD]/m.test(status()); tries += 1) {
      assert.ok(tries < 100_000, 'there is no such thread');
      await sleep(1);
    }
    const blocked = BigInt(`0x${/^SigBlk:\t([0-9a-f]+)$/m.exec(status())?.[1]}`);
    // All standard signals except SIGKILL and SIGSTOP.
    assert.equal((blocked & 0x7fffffffn).toString(16), '7ffbfeff');
    child.signal(os.signals.SIGKILL);
    for (let tries = 0; status() !== ''; tries += 1) {
      assert.ok(tries < 100_000, 'the thread is still there');
      await sleep(1);
    }
    child.close();
    stdio.ours.close();
  });

  it('demands a lane', () => {
    const fd = openNull();
    requireArgumentError(() => native.closeElsewhere(fd, -1), 'lane');
    assert.ok(isOpen(fd.number));
    fd.close();
  });
});
