import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { native } from '../../../src/native/binding.ts';
import { Caller, CallerGoneError, type CallerState, readOwnState } from '../../../src/proc/caller.ts';
import { CallerReader } from '../../../src/proc/caller-reader.ts';
import { answerElsewhere } from '../../../src/proc/reading.ts';

const deadlineMs = 500;
/** Longer than any reading takes: it only ends a run that hangs. */
const patienceMs = 60_000;

/** This process as a caller with another uid: the reader does not compare the owner. */
function callerOf(uid: number): Caller {
  const { pid } = process;
  const identity = { pid, uid, gid: uid, groups: [], label: undefined };
  return new Caller(identity, native.pidfdOpen(pid), true);
}

describe('CallerReader', () => {
  /** Readings that wait for their release, like a reading of a process inside execve(2). */
  let stuck: (() => void)[];
  let blocking: boolean;
  let reader: CallerReader;

  beforeEach(() => {
    stuck = [];
    blocking = false;
    reader = readerWith(deadlineMs);
  });

  function readerWith(ms: number): CallerReader {
    return new CallerReader(readOwnState(), ms, async (reading, directory) => {
      if (blocking) await new Promise<void>((resolve) => stuck.push(resolve));
      return answerElsewhere(reading, directory);
    });
  }

  afterEach(() => {
    for (const go of stuck) go();
  });

  const lose = async (uid: number): Promise<void> => {
    blocking = true;
    await assert.rejects(async () => reader.read(callerOf(uid)), /inside execve/);
    blocking = false;
  };

  /** On a busy machine a reading may take longer than the deadline. */
  async function isRead(uid: number): Promise<void> {
    for (let tries = 0; ; tries += 1) {
      try {
        assert.ok((await reader.read(callerOf(uid))).threads.length > 0);
        return;
      } catch (error) {
        if (tries === 100_000) throw error;
        await sleep(1);
      }
    }
  }

  it('reads the same state of a process that the process itself reads', async () => {
    reader = readerWith(patienceMs);
    const { threads, secureExec } = await reader.read(callerOf(1500));
    const own = readOwnState();
    const leader = (state: CallerState) => state.threads.find(({ tid }) => tid === process.pid);
    assert.deepEqual(leader({ ...own, threads }), leader(own));
    assert.ok(threads.length > 1, 'threads of this process were not read');
    assert.equal(secureExec, own.secureExec);
  });

  it('gives up a reading that blocks, and starts no other for that uid in the meantime', async () => {
    await lose(1500);
    await assert.rejects(async () => reader.read(callerOf(1500)), CallerGoneError);
    assert.equal(stuck.length, 1);
  });

  it('serves other uids while a reading blocks', async () => {
    await lose(1500);
    await isRead(1501);
  });

  it('serves a uid again after its blocked reading has ended', async () => {
    await lose(1500);
    for (const go of stuck.splice(0)) go();
    await sleep(1);
    await isRead(1500);
  });

  it('reads one caller of a uid at a time', async () => {
    reader = readerWith(patienceMs);
    blocking = true;
    const first = reader.read(callerOf(1500));
    const second = reader.read(callerOf(1500));
    await sleep(1);
    assert.equal(stuck.length, 1);
    blocking = false;
    stuck[0]!();
    assert.equal((await first).secureExec, (await second).secureExec);
  });

  it('needs no native thread for root that holds everything that this service holds', () => {
    if (process.getuid?.() !== 0) return;
    blocking = true;
    assert.equal(reader.read(callerOf(0)) instanceof Promise, false);
  });
});
