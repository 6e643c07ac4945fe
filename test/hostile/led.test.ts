/**
 * Between the restore of its memory and the restore of its credentials, a process has the engine's capability in effect, and only
 * CRIU's own code runs there. The kernel diverts a process at a signal that it handles, and at an interruption if its restartable
 * sequence (rseq(2)) says so: the sequence may be in memory that others can write.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { attackIsImpossible, binary, eventually, run } from '../system/support/bench.ts';
import { engines } from '../system/support/it.ts';
import { isAlive, statusLine } from '../system/support/proc.ts';
import { withoutWalls } from '../system/support/walls.ts';
import type { Attacker } from './support/attacker.ts';
import { it } from './support/guarantee.ts';
import {
  AlicesImages,
  assertNeverRan,
  notifiedOf,
  restoreUntil,
  unshackled,
  waitForReply,
} from './support/images.ts';
import { needsX64 } from './support/intruder.ts';
import { endMapped, Mapping, mapped } from './support/mappings.ts';
import { as, directoryOf } from './support/people.ts';

const { SIGCONT, SIGKILL, SIGSTOP } = constants.signals;
const libcSignal = 32;
const pending = 1n << BigInt(libcSignal - 1);
const capability = '0000010000000000';
const nothing = '0000000000000000';

function asAlice(...argv: string[]): string {
  const [file, ...rest] = [...as('alice'), ...argv];
  return run(file!, ...rest);
}

/** Newer kernels divert a thread only if an interrupt hit the sequence itself (Linux 7): the ways in these tests are none there. */
function needsDiversion(test: Mocha.Context): void {
  const { status } = spawnSync(binary('led'), ['diverts', '-']);
  if (status !== 0) attackIsImpossible(test, 'this kernel diverts no thread that comes out of a system call');
}

/** A dumped process of alice's that the kernel can divert, and the segment that it tries to write, which she may only read. */
class Led {
  readonly images: AlicesImages;
  readonly #file: string;
  readonly #segment: Mapping;

  private constructor(file: string, images: AlicesImages, segment: Mapping) {
    this.#file = file;
    this.images = images;
    this.#segment = segment;
  }

  static async by(how: 'sequence' | 'signal'): Promise<Led> {
    const file = join(directoryOf('alice'), 'page');
    asAlice('truncate', '--size=4096', file);
    const argv = [...as('alice', ...unshackled()), binary('led'), how, file];
    const images = await AlicesImages.of(Number(run(argv[0]!, ...argv.slice(1))));
    const segment = new Mapping(mapped(as('bob'), 'segment'), /\/SYSV/);
    const hers = new Mapping(mapped(as('alice'), 'attach', segment.inode), /\/SYSV/);
    writeFileSync(`${file}.link`, hers.link, { mode: 0o644 });
    return new Led(file, images, segment);
  }

  /** Makes the kernel divert every process with its restartable sequence in this page. */
  lead(): void {
    asAlice(binary('led'), 'write', this.#file);
  }

  /** The capabilities of the process at its landing, and whether it has written; undefined if it never landed. */
  get landed(): { readonly effective: string; readonly written: boolean } | undefined {
    if (!existsSync(`${this.#file}.landed`)) return undefined;
    const [effective, errno] = readFileSync(`${this.#file}.landed`, 'utf8').split(' ');
    return {
      effective: effective!,
      written: Number(errno) === 0 || this.#segment.content.startsWith('ALICE'),
    };
  }

  async end(): Promise<void> {
    for (const pid of this.images.threads) if (isAlive(pid)) process.kill(pid, SIGKILL);
    await this.images.end();
    await eventually('the engine has left', () => engines().length === 0);
  }
}

/**
 * Stops the first process of a tree while it opens files, so that the other process waits for it with all its memory restored.
 */
async function stoppedAmidst(led: Led): Promise<{ readonly alice: Attacker; readonly waiting: number }> {
  const { images } = led;
  const waiting = images.threads.find((tid) => tid !== images.pid)!;
  const alice = await notifiedOf(images, 'pre-restore');
  const log = join(images.directory, 'restore.log');
  const [file, ...argv] = [...as('alice'), binary('led'), 'stop', String(images.pid), log];
  const stopper = spawn(file!, argv, { stdio: ['ignore', 'pipe', 'ignore'] });
  await once(stopper.stdout, 'data');
  await alice.send({ type: ReqType.NOTIFY, notify_success: true });
  await eventually('the first process is stopped', () => stopper.exitCode === 0);
  const restored = `${waiting}: Restored\n`;
  await eventually('the other one waits', () => readFileSync(log, 'utf8').includes(restored));
  return { alice, waiting };
}

const isPending = (pid: number): boolean =>
  (BigInt(`0x${statusLine(pid, 'ShdPnd') ?? '0'}`) & pending) !== 0n;

describe('a process of alice’s that the kernel diverts to her code during its restore', () => {
  let led: Led | undefined;

  beforeEach(function () {
    needsX64(this);
  });
  afterEach(async () => {
    await led?.end();
    led = undefined;
    endMapped();
  });

  it('is not restored if its restartable sequence is in memory that others can write', async () => {
    led = await Led.by('sequence');
    const reply: CriuResp | 'closed' = await led.images.restore();
    assert.ok(reply !== 'closed' && !reply.success, JSON.stringify(reply));
    led.lead();
    assert.equal(led.landed, undefined);
  });

  it('handles a signal that the C library never blocks only when it runs, without capabilities', async () => {
    led = await Led.by('signal');
    const { alice, waiting } = await stoppedAmidst(led);
    await alice.do('kill', waiting, libcSignal);
    await eventually('the signal waits', () => isPending(waiting) || led!.landed !== undefined);
    await alice.do('kill', led.images.pid, SIGCONT);
    const reply = await waitForReply(alice);
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    await eventually('it has handled the signal', () => led!.landed !== undefined);
    assert.deepEqual(led.landed, { effective: nothing, written: false });
  });

  describe('on a kernel that follows the rseq pointer in the memory of an image', () => {
    withoutWalls('cleared');

    it('is not restored if it has a restartable sequence', async function () {
      needsDiversion(this);
      const images = await AlicesImages.make();
      const reply = await images.restore();
      assert.ok(reply !== 'closed' && !reply.success, JSON.stringify(reply));
      await assertNeverRan(images);
    });
  });

  describe('with a library that permits diversion', () => {
    withoutWalls('unled');

    it('holds the capability there, by its restartable sequence', async function () {
      needsDiversion(this);
      led = await Led.by('sequence');
      const { alice } = await restoreUntil(led.images, 'post-restore');
      led.lead();
      // A process that waits in a system call returns from it.
      for (const signal of [SIGSTOP, SIGCONT]) await alice.do('kill', led.images.pid, signal);
      await eventually('it has landed', () => led!.landed !== undefined);
      assert.deepEqual(led.landed, { effective: capability, written: true });
    });

    it('holds the capability there, by that signal', async () => {
      led = await Led.by('signal');
      const { alice, waiting } = await stoppedAmidst(led);
      await alice.do('kill', waiting, libcSignal);
      await eventually('it has landed', () => led!.landed !== undefined);
      assert.deepEqual(led.landed, { effective: capability, written: true });
    });
  });
});
