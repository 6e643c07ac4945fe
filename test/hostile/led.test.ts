/**
 * From when the memory of a process is restored until it has its credentials, the engine's capability is in effect in it, and all that
 * runs there is CRIU's own code. The kernel leads a process elsewhere at a signal that it handles, and at an interruption where its
 * restartable sequence (rseq(2)) says so: in memory that others may write.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { binary, eventually, run } from '../system/support/bench.ts';
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

/** A process of alice's that is led, dumped; and what it would write into, which she may only read. */
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

  /** Has the kernel lead whoever has its restartable sequence in the page. */
  lead(): void {
    asAlice(binary('led'), 'write', this.#file);
  }

  /** The capabilities with which it was at its landing, and whether it has written; undefined: it was not there. */
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

/** Stops the first process of a tree while it opens files, so that the other one waits for it with all its memory restored. */
async function stoppedAmidst(led: Led): Promise<{ readonly alice: Attacker; readonly waiting: number }> {
  const { images } = led;
  const waiting = images.threads.find((tid) => tid !== images.pid)!;
  const alice = await notifiedOf(images, 'pre-restore');
  const log = join(images.directory, 'restore.log');
  const [file, ...argv] = [...as('alice'), binary('led'), 'stop', String(images.pid), log];
  const stopper = spawn(file!, argv, { stdio: 'ignore' });
  await alice.send({ type: ReqType.NOTIFY, notify_success: true });
  await eventually('the first process is stopped', () => stopper.exitCode === 0);
  const restored = `${waiting}: Restored\n`;
  await eventually('the other one waits', () => readFileSync(log, 'utf8').includes(restored));
  return { alice, waiting };
}

const isPending = (pid: number): boolean =>
  (BigInt(`0x${statusLine(pid, 'ShdPnd') ?? '0'}`) & pending) !== 0n;

describe('a process of alice’s that is led to code of hers while it is restored', () => {
  let led: Led | undefined;

  beforeEach(function () {
    needsX64(this);
  });
  afterEach(async () => {
    await led?.end();
    led = undefined;
    endMapped();
  });

  it('is not restored, where its restartable sequence is in memory that others can write', async () => {
    led = await Led.by('sequence');
    const reply: CriuResp | 'closed' = await led.images.restore();
    assert.ok(reply !== 'closed' && !reply.success, JSON.stringify(reply));
    led.lead();
    assert.equal(led.landed, undefined);
  });

  it('handles a signal that the C library never blocks when it runs, and holds nothing then', async () => {
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

  describe('on a kernel that leads it to where the memory in an image says', () => {
    withoutWalls('cleared');

    it('is not restored, where it has a restartable sequence', async () => {
      const images = await AlicesImages.make();
      const reply = await images.restore();
      assert.ok(reply !== 'closed' && !reply.success, JSON.stringify(reply));
      await assertNeverRan(images);
    });
  });

  describe('with a library that lets it be led', () => {
    withoutWalls('unled');

    it('has the capability there, by its restartable sequence', async () => {
      led = await Led.by('sequence');
      const { alice } = await restoreUntil(led.images, 'post-restore');
      led.lead();
      // What waits in a system call returns from it.
      for (const signal of [SIGSTOP, SIGCONT]) await alice.do('kill', led.images.pid, signal);
      await eventually('it has landed', () => led!.landed !== undefined);
      assert.deepEqual(led.landed, { effective: capability, written: true });
    });

    it('has the capability there, by that signal', async () => {
      led = await Led.by('signal');
      const { alice, waiting } = await stoppedAmidst(led);
      await alice.do('kill', waiting, libcSignal);
      await eventually('it has landed', () => led!.landed !== undefined);
      assert.deepEqual(led.landed, { effective: capability, written: true });
    });
  });
});
