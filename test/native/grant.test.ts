/**
 * Tests criu-grant against the kernel. A kernel without Yama refuses prctl(PR_SET_PTRACER) with EINVAL, after the task has executed
 * it: there the answer is that, and what the task keeps is the same.
 */
import { strict as assert } from 'node:assert';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  ask,
  asked,
  assertCalled,
  built,
  hasYama,
  program,
  sources,
  Target,
  uid,
  useTargets,
  workshop,
} from './grant/targets.ts';
import { cannotShow, countFds } from './support.ts';

const here = fileURLToPath(new URL('.', import.meta.url));

describe('criu-grant', () => {
  useTargets();
  before(() => writeFileSync(join(workshop, 'x [vdso]'), Buffer.from('0f05'.repeat(4096), 'hex')));

  describe('leaves a task as it was that', () => {
    const acts: (readonly [string, (target: Target) => void, string])[] = [
      ['sleep', () => {}, 'nanosleep 0'],
      ['poll', (target) => target.say(), 'poll 1'],
      ['poll-out', () => {}, 'poll 0'],
      [
        'ppoll',
        (target) => target.signal(constants.signals.SIGUSR1),
        'ppoll -1 Interrupted system call blocked 1',
      ],
      ['read', (target) => target.say(), 'read 1'],
      ['futex', (target) => target.say(), 'futex 0'],
      ['futex-out', () => {}, 'futex -1 Connection timed out'],
      ['compute', (target) => target.signal(constants.signals.SIGUSR1), 'right 1'],
    ];
    if (process.arch === 'x64') {
      acts.push(['sequence', (target) => target.signal(constants.signals.SIGUSR1), 'aborted 1']);
    }
    for (const [act, wake, line] of acts) {
      for (const first of [[], ['ignore-trap'], ['block']]) {
        it(`is in ${act}${first.map((word) => `, with ${word}`).join('')}`, async () => {
          const target = await Target.start([...first, act]);
          const waits = !['compute', 'sequence'].includes(act);
          if (waits) await target.settles('S');
          const before = target.kept;
          await asked(target);
          if (waits) {
            // It has been let go, and may still be on its way back into the call.
            await target.settles('S');
            assert.equal(target.kept, before);
          }
          wake(target);
          assert.equal(await target.line(), line);
        });
      }
    }

    it('is stopped, and goes on with SIGCONT', async () => {
      const target = await Target.start(['read']);
      target.signal(constants.signals.SIGSTOP);
      await target.settles('T');
      const before = target.kept;
      for (let time = 0; time < 20; time += 1) {
        assertCalled(await ask(target), target.pid);
        await target.settles('T');
      }
      assert.equal(target.kept, before);
      target.say();
      target.signal(constants.signals.SIGCONT);
      assert.equal(await target.line(), 'read 1');
    });

    it('is stopped at any moment, and continued', async () => {
      const target = await Target.start(['compute']);
      for (let time = 0; time < 60; time += 1) {
        const answer = ask(target);
        target.signal(constants.signals.SIGSTOP);
        assertCalled(await answer, target.pid);
        await target.settles('T');
        const again = ask(target);
        target.signal(constants.signals.SIGCONT);
        assertCalled(await again, target.pid);
      }
      target.signal(constants.signals.SIGUSR1);
      assert.equal(await target.line(), 'right 1');
    });

    it('gets SIGSTOP and SIGCONT in turn, and keeps the last of them', async () => {
      const { SIGCONT, SIGSTOP, SIGUSR1 } = constants.signals;
      const target = await Target.start(['compute']);
      for (let time = 0; time < 60; time += 1) {
        const last = time % 2 === 0 ? SIGSTOP : SIGCONT;
        const answer = ask(target);
        for (let turn = 0; turn < 10; turn += 1) {
          target.signal(SIGCONT);
          target.signal(SIGSTOP);
          await sleep(0);
        }
        if (last === SIGCONT) target.signal(SIGCONT);
        assertCalled(await answer, target.pid);
        await target.settles(last === SIGSTOP ? 'T' : 'R');
      }
      target.signal(SIGUSR1);
      assert.equal(await target.line(), 'right 1');
    });

    it('gets signals meanwhile: each is handled once', async () => {
      const target = await Target.start(['handle', 'signals']);
      const realTime = 37; // SIGRTMIN + 3: these queue up.
      let sent = 0;
      for (let time = 0; time < 60; time += 1) {
        const answer = ask(target);
        for (let signal = 0; signal < 20; signal += 1, sent += 1) {
          target.signal(realTime);
          await sleep(0);
        }
        assertCalled(await answer, target.pid);
      }
      target.signal(constants.signals.SIGUSR1);
      assert.equal(await target.line(), `handled ${sent}`);
    });
  });

  it('is late for a task that waits for its vfork(2), which goes on', async () => {
    const target = await Target.start(['vfork']);
    const answer = await ask(target);
    assert.deepEqual([answer.fault, answer.pid], ['late', target.pid]);
    target.say();
    assert.equal(await target.line(), 'child 7');
  });

  describe('refuses a task that', () => {
    const refused: readonly (readonly [string, readonly string[], string])[] = [
      ['is not dumpable', ['not-dumpable', 'read'], 'not-dumpable'],
      ['has a seccomp filter', ['filter', 'read'], 'seccomp'],
      ['is in a user namespace of its own', ['namespace', 'read'], 'namespace'],
      ['handles its system calls itself', ['dispatch', 'read'], 'dispatch'],
      ['has no vdso', ['no-vdso', 'read'], 'no-code'],
      ['has a file in the place of its vdso', ['vdso-in-file', 'read'], 'no-code'],
      ...(process.arch === 'x64'
        ? [
            [
              'has a segment that the kernel does not take from a tracer',
              ['segment', 'read'],
              'registers',
            ] as const,
          ]
        : []),
    ];
    for (const [what, words, fault] of refused) {
      it(what, async () => {
        const target = await Target.start(words);
        const answer = await ask(target);
        assert.deepEqual([answer.fault, answer.pid], [fault, target.pid]);
        target.say();
        assert.equal(await target.line(), 'read 1');
      });
    }

    it('has its area for restartable sequences in a file, unless it is in a system call', async function () {
      if (process.arch !== 'x64') cannotShow(this, 'the registers of this architecture do not tell');
      const target = await Target.start(['sequence-in-file', 'compute']);
      const answer = await ask(target);
      assert.deepEqual([answer.fault, answer.pid], ['sequence', target.pid]);
      target.signal(constants.signals.SIGUSR1);
      assert.equal(await target.line(), 'right 1');
      const reader = await Target.start(['sequence-in-file', 'read']);
      await asked(reader, 1);
      reader.say();
      assert.equal(await reader.line(), 'read 1');
    });

    it('is a program of 32 bits', async function () {
      const compat = join(workshop, 'compat');
      const flags = ['-m32', '-O1', '-static', '-nostdlib', '-ffreestanding', '-fno-pie', '-no-pie'];
      if (process.arch !== 'x64') cannotShow(this, 'no other architecture has them');
      execFileSync('gcc', [...flags, '-o', compat, join(here, 'grant/compat.c')], { stdio: 'inherit' });
      const told = spawnSync(compat, { input: 'x', encoding: 'latin1' }).stdout;
      if (!told.startsWith('ready')) cannotShow(this, 'this kernel executes no programs of 32 bits');
      const target = await Target.start([], {}, compat);
      const answer = await ask(target);
      assert.deepEqual([answer.fault, answer.pid], ['compat', target.pid]);
      target.say();
      assert.equal(await target.line(), 'read 1');
    });

    it('has another uid, or another gid', async () => {
      for (const as of [{ uid: 0 }, { uid: uid + 1 }, { gid: uid + 1 }]) {
        const target = await Target.start(['read'], as);
        assert.equal((await ask(target)).fault, 'foreign');
      }
    });

    it('is traced, which stays so', async () => {
      const target = await Target.start(['read']);
      const tracer = spawn('strace', ['-qq', '-o', '/dev/null', '-p', String(target.pid)], {
        stdio: 'ignore',
      });
      while (/^TracerPid:\t0$/m.test(target.kept)) await sleep(1);
      assert.equal((await ask(target)).fault, 'traced');
      assert.doesNotMatch(target.kept, /^TracerPid:\t0$/m);
      tracer.kill();
    });

    it('has ended', async () => {
      const target = await Target.start(['read']);
      target.signal(constants.signals.SIGKILL);
      while (existsSync(`/proc/${target.pid}`)) await sleep(1);
      const answer = await ask(target);
      assert.deepEqual([answer.fault, answer.pid], ['gone', target.pid]);
    });

    it('is on its way out, as one that has ended', async () => {
      let met = false;
      for (let times = 0; times < 30 && !met; times += 1) {
        const target = await Target.start(['large', 'read']);
        target.signal(constants.signals.SIGKILL);
        while (target.status?.includes('\nVmPeak:')) await sleep(0);
        const answer = await ask(target);
        met = /^State:\t[^ZX]/m.test(target.status ?? '');
        assert.deepEqual([answer.fault, answer.pid], ['gone', target.pid]);
      }
      assert.ok(met);
    });
  });

  describe('names no engine', () => {
    it('that has ended', async () => {
      const [target, engine] = [await Target.start(['read']), await Target.start(['read'])];
      engine.signal(constants.signals.SIGKILL);
      while (existsSync(`/proc/${engine.pid}/exe`)) await sleep(1);
      const answer = await ask(target, { engine: engine.pid }, true, built, { engine: engine.directory });
      assert.deepEqual([answer.fault, answer.pid], ['gone', engine.pid]);
      target.say();
      assert.equal(await target.line(), 'read 1');
    });

    it('that ends before the task makes its call', async () => {
      const [target, engine] = [await Target.start(['vfork']), await Target.start(['read'])];
      const asking = ask(target, { engine: engine.pid }, true, built, { engine: engine.directory });
      while (/^TracerPid:\t0$/m.test(target.kept)) await sleep(1);
      engine.signal(constants.signals.SIGKILL);
      while (existsSync(`/proc/${engine.pid}/exe`)) await sleep(1);
      target.say();
      const answer = await asking;
      assert.deepEqual([answer.fault, answer.pid], ['gone', engine.pid]);
      assert.equal(await target.line(), 'child 7');
    });
  });

  it('refuses, and lets no other answer, if the caller ends the process that asks the kernel', async () => {
    const target = await Target.start(['ignore-alarm', 'read']);
    const flood = await Target.start(['flood']);
    const seen = new Set<string>();
    for (let times = 0; times < 2000 && !seen.has('asker-ended'); times += 1) {
      seen.add((await ask(target)).fault);
    }
    flood.signal(constants.signals.SIGKILL);
    assert.ok(seen.has('asker-ended'), JSON.stringify([...seen]));
    assert.ok(!seen.has('late'));
  });

  it('is late if the caller stops the process that asks the kernel', async () => {
    const target = await Target.start(['read']);
    const flood = await Target.start(['flood-stop']);
    let answer = await ask(target);
    for (let times = 0; times < 2000 && answer.fault !== 'late'; times += 1) answer = await ask(target);
    flood.signal(constants.signals.SIGKILL);
    assert.deepEqual([answer.fault, answer.pid], ['late', target.pid]);
    target.signal(constants.signals.SIGCONT);
    target.say();
    assert.equal(await target.line(), 'read 1');
  });

  it('is late if it was killed, whatever is answered afterwards', async () => {
    const late = join(workshop, 'late');
    execFileSync('gcc', ['-o', late, join(here, 'grant/late.c')], { stdio: 'inherit' });
    const target = await Target.start(['read']);
    const answer = await ask(target, {}, true, late, {}, 100);
    assert.deepEqual([answer.fault, answer.pid], ['late', target.pid]);
  });

  for (const [by, words] of [
    ['', ['again', '3000']],
    [', executed by another of its threads', ['again', '1000', 'thread']],
  ] as const) {
    it(`lets a program go that becomes setuid at any moment${by}, and it keeps its rights`, async () => {
      chownSync(program, 0, 0);
      chmodSync(program, 0o4755);
      try {
        const seen = new Set<string>();
        // It is to be met as alice's and as root's, which a busy machine may need more than one of its lives for.
        const isMet = (): boolean => seen.has('foreign') && seen.has(hasYama ? 'none' : 'call');
        for (let lives = 0; lives === 0 || (!isMet() && lives < 30); lives += 1) {
          const target = await Target.start(words);
          let isOver = false;
          const line = target.line().finally(() => {
            isOver = true;
          });
          while (!isOver) seen.add((await ask(target)).fault);
          assert.equal(await line, 'through');
        }
        assert.ok(isMet(), JSON.stringify([...seen]));
        for (const fault of ['parameters', 'self', ...(by === '' ? ['disturbed'] : [])]) {
          assert.ok(!seen.has(fault), fault);
        }
      } finally {
        chmodSync(program, 0o755);
      }
    });
  }

  describe('finds the root of a tree', () => {
    it('a descendant of the caller', async () => {
      const target = await Target.start(['read']);
      assert.equal((await ask(target, { needsRelation: true })).related, 'descendant');
    });

    it('no relative of a process beside it, which it leaves alone', async () => {
      const [target, beside] = [await Target.start(['read']), await Target.start(['read'])];
      const answer = await ask(target, { needsRelation: true, caller: beside.pid }, false, built, {
        caller: beside.directory,
      });
      // Without Yama the kernel lets a process trace every other of its user's.
      if (hasYama) assert.deepEqual([answer.fault, answer.related], ['no-consent', 'nothing']);
      else assert.deepEqual([answer.fault, answer.related, answer.before], ['none', 'named', 1]);
    });

    it('the caller itself', async () => {
      const target = await Target.start(['read']);
      const answer = await ask(target, { needsRelation: true, caller: target.pid }, false, built, {
        caller: target.directory,
      });
      assert.equal(answer.related, 'self');
    });
  });

  it('finds every process of a tree, also the children of children', async () => {
    const target = await Target.start(['tree']);
    const { fault, named, before } = await ask(target, {}, false);
    assert.deepEqual({ fault, processes: named + before }, { fault: 'none', processes: 13 });
    target.say();
  });

  it('gives the sanitizers nothing to find', async () => {
    const sanitized = join(workshop, 'grant-sanitized');
    const files = readdirSync(sources).flatMap((file) => (file.endsWith('.cc') ? [join(sources, file)] : []));
    const flags = [
      '-std=c++20',
      '-fno-exceptions',
      '-fno-rtti',
      '-D_GNU_SOURCE',
      '-D_FILE_OFFSET_BITS=64',
      '-O1',
      '-g',
    ];
    const sanitizers = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'];
    execFileSync('g++', [...flags, ...sanitizers, '-o', sanitized, ...files], { stdio: 'inherit' });
    const target = await Target.start(['read']);
    for (let time = 0; time < 5; time += 1) assertCalled(await ask(target, {}, true, sanitized), target.pid);
    const tree = await Target.start(['tree']);
    assert.equal((await ask(tree, { needsRelation: true }, false, sanitized)).fault, 'none');
    const closed = await Target.start(['not-dumpable', 'read']);
    assert.equal((await ask(closed, {}, true, sanitized)).fault, 'not-dumpable');
  });

  it('leaves no descriptor', async () => {
    const target = await Target.start(['read']);
    await ask(target);
    const before = countFds();
    await asked(target, 5);
    assert.equal(countFds(), before);
  });
});
