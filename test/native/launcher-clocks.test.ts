/**
 * Tests against the kernel that an engine has the clocks which it should have: those of another process, or those of images; and
 * that its launcher reads the images with the caller's rights alone.
 */
import { strict as assert } from 'node:assert';
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants } from 'node:os';
import { basename, join } from 'node:path';
import { LaunchError, startConfinedEngine } from '../../src/engine/confined.ts';
import type { EngineCgroup } from '../../src/engine/engine-cgroup.ts';
import {
  ClocksFault,
  encodeClocks,
  type LaunchAnswer,
  type LauncherClocks,
  type LaunchParameters,
  TimeFault,
} from '../../src/engine/launcher-protocol.ts';
import { native, type SeqpacketSocket } from '../../src/native/binding.ts';
import { offsetsOf, parseOffsets } from '../../src/policy/clocks.ts';
import type { Clocks } from '../../src/protocol/clocks-image.ts';
import { compileProbe } from './engine-preload/engine.ts';
import {
  type Launch,
  type LaunchOptions,
  launchAs,
  requireFailure,
  TestCaller,
  Workshop,
} from './launcher/support.ts';
import { cannotShow } from './support.ts';

const { EACCES, EINVAL, ELOOP, EPROTO, ERANGE, ESRCH } = constants.errno;

/** A number that no account has, different in each run. */
const uid = 700_000 + (process.pid % 100_000);
const alice = [`uid=${uid}`, `gid=${uid + 1}`];

const workshop = new Workshop();
const callers: TestCaller[] = [];
const sleepers: ChildProcess[] = [];

async function callerWith(...traits: string[]): Promise<TestCaller> {
  const caller = await TestCaller.start(workshop, traits);
  callers.push(caller);
  return caller;
}

const own = (): string => readlinkSync('/proc/self/ns/time');

/** A process whose clocks are `seconds` ahead of ours. */
async function ahead(seconds: number): Promise<number> {
  const clocks = ['--time', `--monotonic=${seconds}`, `--boottime=${seconds}`];
  const child = spawn('unshare', [...clocks, 'sleep', '1000'], { stdio: 'inherit' });
  sleepers.push(child);
  const pid = child.pid!;
  for (let round = 0; readlinkSync(`/proc/${pid}/ns/time`) === own(); round += 1) {
    assert.ok(round < 10_000, 'it entered no time namespace');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return pid;
}

after(() => workshop.remove());
afterEach(async () => {
  for (const child of sleepers.splice(0)) child.kill('SIGKILL');
  for (const caller of callers.splice(0)) {
    await caller.end();
    caller.close();
  }
});

for (const [build, compile] of [
  ['the clocks of an engine', () => workshop.plainLauncher()],
  [
    'the clocks of an engine, under AddressSanitizer and UndefinedBehaviorSanitizer',
    () => workshop.sanitizedLauncher(),
  ],
] as const) {
  describe(build, () => {
    let launcher: string;
    let images: string;
    let numbered = 0;
    before(function () {
      if (spawnSync('unshare', ['--time', 'true']).status !== 0) {
        cannotShow(this, 'this machine has no time namespaces');
      }
      launcher = compile();
    });
    beforeEach(() => {
      numbered += 1;
      images = workshop.path(`images-${basename(launcher)}-${numbered}`);
      mkdirSync(images, { mode: 0o755 });
      chownSync(images, uid, uid + 1);
    });

    const place = (content: string | Uint8Array, mode = 0o600): void => {
      const file = join(images, 'timens-0.img');
      writeFileSync(file, content);
      chownSync(file, uid, uid + 1);
      chmodSync(file, mode);
    };

    /** A launch of an engine with clocks of its own; `answer` answers its question. */
    async function restore(
      answer: (question: LauncherClocks, control: SeqpacketSocket) => void,
      options: Partial<LaunchOptions> = {},
      changes: Partial<LaunchParameters> = {},
      traits = alice,
    ): Promise<Launch & { readonly question: LauncherClocks | undefined }> {
      const caller = await callerWith(...traits);
      let question: LauncherClocks | undefined;
      const launched = await launchAs(
        workshop,
        launcher,
        caller,
        { imagesDir: images, ownClocks: true, joinTime: options.timePidfd !== undefined, ...changes },
        {
          ...options,
          onAnswer: (each: LaunchAnswer, control: SeqpacketSocket) => {
            if (each.kind !== 'clocks') return;
            question = each;
            answer(each, control);
          },
        },
      );
      // The question is no answer of the launch.
      return { ...launched, answers: launched.answers.filter(({ kind }) => kind !== 'clocks'), question };
    }

    const set =
      (offsets: Clocks | undefined) =>
      (_question: LauncherClocks, control: SeqpacketSocket): void => {
        assert.ok(control.send(encodeClocks(offsets)));
      };

    const offsets: Clocks = {
      monotonic: { seconds: 5000n, nanoseconds: 7n },
      boottime: { seconds: 6000n, nanoseconds: 999_999_999n },
    };

    it('are those that the service answers, in a new time namespace, which the launcher names', async () => {
      place('the image');
      const { report, answers, question } = await restore(set(offsets));
      assert.equal(question?.image?.toString(), 'the image');
      assert.deepEqual(parseOffsets(question.own), {
        monotonic: { seconds: 0n, nanoseconds: 0n },
        boottime: { seconds: 0n, nanoseconds: 0n },
      });
      const uptime = Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]);
      assert.ok(Math.abs(Number(question.now.boottime.seconds) - uptime) < 60);
      assert.deepEqual(
        [report.get('offset.monotonic'), report.get('offset.boottime')],
        ['5000 7', '6000 999999999'],
      );
      const [ready] = answers;
      assert.equal(ready?.kind, 'ready');
      assert.notEqual(report.get('time'), own());
      assert.equal(report.get('time'), ready.timeNamespace);
      assert.equal(report.get('time_for_children'), ready.timeNamespace);
    });

    it('are those of the launcher, in a new time namespace, if the images have none', async () => {
      const { report, answers, question } = await restore(set(undefined));
      assert.equal(question?.image, undefined);
      assert.equal(report.get('offset.monotonic'), '0 0');
      assert.notEqual(report.get('time'), own());
      assert.equal(answers[0]?.kind === 'ready' && answers[0].timeNamespace, report.get('time'));
    });

    it('are those of the process whose time namespace the engine enters', async () => {
      const pid = await ahead(600);
      const timePidfd = native.pidfdOpen(pid);
      const caller = await callerWith(...alice);
      const { report, answers } = await launchAs(
        workshop,
        launcher,
        caller,
        { joinTime: true },
        { timePidfd },
      );
      timePidfd.close();
      assert.deepEqual(
        [report.get('time'), report.get('time_for_children'), report.get('offset.boottime')],
        [readlinkSync(`/proc/${pid}/ns/time`), readlinkSync(`/proc/${pid}/ns/time`), '600 0'],
      );
      assert.equal(answers[0]?.kind === 'ready' && answers[0].timeNamespace, undefined);
    });

    it('are told from those of the time namespace that the launcher has entered before', async () => {
      const timePidfd = native.pidfdOpen(await ahead(600));
      const { report, question } = await restore(set(undefined), { timePidfd });
      assert.equal(report.get('offset.monotonic'), '600 0');
      assert.ok(question);
      const head = Buffer.alloc(12);
      [0x54564319, 0x43114433, 20].forEach((word, at) => {
        head.writeUInt32LE(word, at * 4);
      });
      // 2 ** 28 seconds on both clocks: the offset must be from the host's clock, not from the launcher's.
      const image = Buffer.concat([
        head,
        Buffer.from('0a080880808080011000' + '12080880808080011000', 'hex'),
      ]);
      const wanted = offsetsOf({ ...question, image }) as Clocks;
      const uptime = Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]);
      assert.ok(
        Math.abs(Number(wanted.boottime.seconds) - (2 ** 28 - uptime)) < 60,
        String(wanted.boottime.seconds),
      );
      timePidfd.close();
    });

    it('are those of the service without a request for others', async () => {
      const caller = await callerWith(...alice);
      const { report } = await launchAs(workshop, launcher, caller);
      assert.equal(report.get('time'), own());
      assert.equal(report.get('time_for_children'), own());
    });

    it('are not set, and nothing is executed, after an answer that is none', async () => {
      const good = encodeClocks(offsets);
      const changed = (at: number, value: bigint): Buffer => {
        const packet = Buffer.from(good);
        packet.writeBigInt64LE(value, at);
        return packet;
      };
      for (const [name, packet] of [
        ['one byte', good.subarray(0, 1)],
        ['a byte too few', good.subarray(0, -1)],
        ['a byte too many', Buffer.concat([good, Buffer.alloc(1)])],
        ['zeros', Buffer.alloc(good.length)],
        ['a set that is neither', changed(8, 2n)],
        ['a word behind it', changed(8, (1n << 32n) | 1n)],
        ['a second of nanoseconds', changed(24, 1_000_000_000n)],
        ['negative nanoseconds', changed(40, -1n)],
      ] as const) {
        const launched = await restore((_question, control) => assert.ok(control.send(packet)));
        try {
          requireFailure(launched, { step: 'clocks', error: EPROTO, value: BigInt(ClocksFault.noAnswer) });
        } catch (cause) {
          throw new Error(name, { cause });
        }
      }
    });

    it('are not set, and nothing is executed, if the service closes the connection instead of an answer', async () => {
      requireFailure(await restore((_question, control) => control.shutdown('write')), {
        step: 'clocks',
        error: EPROTO,
        value: BigInt(ClocksFault.noAnswer),
      });
    });

    it('are refused by the kernel before zero and beyond its range, and nothing is executed', async () => {
      for (const monotonic of [
        { seconds: -4_000_000_000n, nanoseconds: 0n },
        { seconds: 4_611_686_018n, nanoseconds: 0n },
        { seconds: 2n ** 62n, nanoseconds: 0n },
      ]) {
        requireFailure(await restore(set({ ...offsets, monotonic })), {
          step: 'clocks',
          error: ERANGE,
          value: BigInt(ClocksFault.notSet),
        });
      }
    });

    it('are read from a file that the caller may read, through its own links', async () => {
      place('elsewhere');
      const links = workshop.path(`links-${basename(launcher)}-${numbered}`);
      mkdirSync(links, { mode: 0o755 });
      symlinkSync(join(images, 'timens-0.img'), join(links, 'timens-0.img'));
      const { question } = await restore(set(undefined), {}, { imagesDir: links });
      assert.equal(question?.image?.toString(), 'elsewhere');
    });

    it('are at most the first 4 KiB of a file', async () => {
      place(Buffer.alloc(1 << 20, 'x'));
      const { question } = await restore(set(undefined));
      assert.deepEqual(question?.image, Buffer.alloc(4096, 'x'));
    });

    it('are read from no file that only root may read, whatever leads there', async () => {
      const secret = workshop.path(`secret-${basename(launcher)}`);
      writeFileSync(secret, 'root’s', { mode: 0o600 });
      symlinkSync(secret, join(images, 'timens-0.img'));
      requireFailure(await restore(assert.fail), {
        step: 'clocks',
        error: EACCES,
        value: BigInt(ClocksFault.cannotBeRead),
      });
      execFileSync('rm', [join(images, 'timens-0.img')]);
      place('root’s', 0o000);
      requireFailure(await restore(assert.fail), { step: 'clocks', error: EACCES });
    });

    it('are read through no link of /proc into a process', async () => {
      for (const link of ['/proc/self/exe', '/proc/self/cwd/etc/hostname', '/proc/thread-self/fd/0']) {
        execFileSync('ln', ['-sfn', link, join(images, 'timens-0.img')]);
        requireFailure(await restore(assert.fail), { step: 'clocks', error: ELOOP });
      }
    });

    it('are read from a regular file alone: neither FIFO, directory nor device delays the launcher', async () => {
      const file = join(images, 'timens-0.img');
      for (const make of [
        ['mkfifo', '-m', '666', file],
        ['mkdir', file],
        ['ln', '-s', '/dev/null', file],
        ['ln', '-s', '/dev/full', file],
      ]) {
        execFileSync(make[0]!, make.slice(1));
        requireFailure(await restore(assert.fail), {
          step: 'clocks',
          error: 0,
          value: BigInt(ClocksFault.notRegular),
        });
        execFileSync('rm', ['-rf', file]);
      }
    });

    it('cannot be had without a process whose time namespace is to be entered, or from one that has ended', async () => {
      const caller = await callerWith(...alice);
      requireFailure(await launchAs(workshop, launcher, caller, { joinTime: true }), {
        step: 'time',
        error: EINVAL,
        value: BigInt(TimeFault.join),
      });
      const ended = spawn('sleep', ['1000']);
      const timePidfd = native.pidfdOpen(ended.pid!);
      const exited = new Promise((resolve) => ended.once('exit', resolve));
      ended.kill('SIGKILL');
      await exited;
      requireFailure(await launchAs(workshop, launcher, caller, { joinTime: true }, { timePidfd }), {
        step: 'time',
        error: ESRCH,
      });
      timePidfd.close();
    });
  });
}

describe('a launcher’s answer', () => {
  for (const [what, says, reason] of [
    ['another answer', 'r', /^The launcher cannot be understood: it answers twice$/],
    [
      'a question for clocks',
      'c',
      /^The launcher cannot be understood: it asks for clocks after its answer$/,
    ],
  ] as const) {
    it(`counts once: the engine, which has a copy of that connection, is not started if ${what} follows`, async () => {
      const launcher = workshop.path(`twice-${says}`);
      execFileSync('cp', [workshop.path('twice'), launcher]);
      writeFileSync(`${launcher}.says`, says);
      const criu = compileProbe(workshop, `probe-${says}`, '-static');
      const caller = await callerWith(...alice);
      const { config, preload } = caller.parameters(workshop);
      const unused = (): never => assert.fail('there is an engine');
      let gone: Promise<void> | undefined;
      await assert.rejects(
        startConfinedEngine(
          { criu, launcher, configFile: config, preload, deadlineMs: 120_000, timeNamespaces: true },
          {
            ...caller.parameters(workshop),
            pidfd: caller.pidfd,
            procDirectory: caller.procDirectory,
          },
          { imagesDir: '/' },
          { fromImages: true },
          false,
          undefined,
          {
            with: async () => ({ kill: () => {}, remove: () => {} }) as EngineCgroup,
          },
          { onMessage: unused, onHangup: unused, onEnd: unused, onLie: unused, expectsTerminal: () => false },
          (promise) => {
            gone = promise;
          },
        ),
        (error) => error instanceof LaunchError && reason.test(error.message),
      );
      assert.ok(gone);
      await gone;
    });
  }
});
