/**
 * alice puts links in place of files that her restored process has open. CRIU follows them with the engine's capability, to files
 * that she could not open; she must never get these files.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, readdirSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { eventually } from '../system/support/bench.ts';
import { ourAddress } from '../system/support/client.ts';
import { engines } from '../system/support/it.ts';
import { isFree, statusLine } from '../system/support/proc.ts';
import { withoutWalls } from '../system/support/walls.ts';
import { Attacker } from './support/attacker.ts';
import { assertRefused, assertServed, it } from './support/guarantee.ts';
import { AlicesImages, assertNeverRan, restoreUntil } from './support/images.ts';
import { as, directoryOf, targetOf, type User, uids } from './support/people.ts';

/** Attaches a segment of System V and prints its address; without an id it makes a segment that any user may read. */
const attach = `
import ctypes, sys
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
segment = int(sys.argv[1]) if len(sys.argv) > 1 else libc.shmget(0, 4096, 0o1644)
print(segment, '%x' % libc.shmat(segment, None, 0o10000 if len(sys.argv) > 1 else 0), flush=True)
sys.stdin.read()
`;

const running = new Set<ChildProcess>();

/** Another process with the segment attached, and the link of its mapping. */
async function attached(user: User, ...segment: string[]): Promise<{ segment: string; link: string }> {
  const [file, ...argv] = [...as(user), 'python3', '-c', attach, ...segment];
  const child = spawn(file!, argv, { stdio: ['pipe', 'pipe', 'inherit'] });
  running.add(child);
  const [said] = await once(child.stdout!, 'data');
  const [id, address] = String(said).trim().split(' ');
  const directory = `/proc/${child.pid}/map_files`;
  const range = readdirSync(directory).find((name) => name.startsWith(`${address}-`));
  return { segment: id!, link: `${directory}/${range}` };
}

/** Another engine of hers, which waits for her answer. */
async function anotherEngine(): Promise<number> {
  const alice = new Attacker('alice');
  const target = targetOf('alice');
  await alice.do('open', 10, 0, directoryOf('alice'));
  const opts = { images_dir_fd: 10, pid: target.pid, leave_running: true, notify_scripts: true };
  const message = await alice.ask({ type: ReqType.DUMP, opts }, ourAddress);
  assert.ok(message !== 'closed' && message.type === ReqType.NOTIFY, JSON.stringify(message));
  const engine = engines().find((pid) => statusLine(pid, 'Uid')?.startsWith(`${uids.alice}\t`));
  assert.ok(engine !== undefined, 'there is no engine that has become alice');
  return engine;
}

/** Each wall is tried without the other. */
const walls = [
  {
    stands: 'every wall stands, and the kernel refuses an engine whose capability sleeps',
    looksOnly: false,
    refuses: () => /Permission denied|Operation not permitted/,
  },
  {
    stands: 'CRIU may open all files, and those that the tree holds are examined',
    looksOnly: true,
    refuses: (sentence: string) => new RegExp(sentence),
  },
] as const;

function targetsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
}

describe('a link of alice’s in place of a file that her restored process has open', () => {
  let images: AlicesImages;
  beforeEach(async () => {
    images = await AlicesImages.make('baited');
  });
  afterEach(async () => {
    await images.end();
    for (const child of running) child.kill('SIGKILL');
    running.clear();
  });

  const put = (bait: 'empty' | 'page', target: string): void => {
    rmSync(`${images.trace}.${bait}`);
    symlinkSync(target, `${images.trace}.${bait}`);
  };

  /** alice says yes to all notifications until the reply. */
  const goOn = async (alice: Attacker): Promise<CriuResp | 'closed'> => {
    for (;;) {
      await alice.send({ type: ReqType.NOTIFY, notify_success: true });
      const message = await alice.receive();
      if (message === 'closed' || message.type !== ReqType.NOTIFY) return message;
    }
  };

  it('may lead to a file that she could open herself', async () => {
    const other = join(directoryOf('alice'), 'other');
    writeFileSync(other, '', { mode: 0o600 });
    chownSync(other, uids.alice, uids.alice);
    put('empty', other);
    const reply = await images.restore();
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    await eventually('it runs', () => images.ran);
    assert.ok(targetsOf(images.pid).includes(other));
  });

  for (const wall of walls) {
    describe(`where ${wall.stands}`, () => {
      if (wall.looksOnly) withoutWalls('asleep', 'undumpable');

      it('does not give her the memory of the engine that restores it', async () => {
        const { alice, engine } = await restoreUntil(images, 'pre-restore');
        put('empty', `/proc/${engine}/mem`);
        assertRefused(await goOn(alice), wall.refuses(`holds /proc/${engine}/mem .* which is the engine’s`));
        await assertNeverRan(images);
        await assertServed('bob');
      });

      it('does not give her the memory of another engine of hers', async () => {
        const engine = await anotherEngine();
        put('empty', `/proc/${engine}/mem`);
        assertRefused(
          await images.restore(),
          wall.refuses(`holds /proc/${engine}/mem .* (could not look into|which is the engine’s)`),
        );
        await eventually('the tree is gone', () => isFree(images.pid));
        assert.equal(images.ran, false);
        if (!wall.looksOnly) return;
        await images.restoreUnguarded('engine');
        await eventually('the attack bites', () => images.ran);
        assert.ok(targetsOf(images.pid).includes(`/proc/${engine}/mem`));
      });

      it('does not give her write access to a segment of bob’s that she may only read', async () => {
        const { segment } = await attached('bob');
        const { link } = await attached('alice', segment);
        put('page', link);
        assertRefused(
          await images.restore(),
          wall.refuses('holds /SYSV\\S* \\(deleted\\) .* not yours but uid 1501’s'),
        );
        await assertNeverRan(images);
        await images.restoreUnguarded('engine');
        await eventually('the attack bites', () => images.ran);
        assert.ok(targetsOf(images.pid).some((target) => target.startsWith('/SYSV')));
      });
    });
  }
});
