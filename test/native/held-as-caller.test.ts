import { strict as assert } from 'node:assert';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { constants, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { native } from '../../src/native/binding.ts';
import { parseThreadStatus } from '../../src/proc/status.ts';
import { HeldReader } from '../../src/session/trees/why-held.ts';
import { alice, Bench, bob, caller, refusal } from './held/support.ts';
import { cannotShow, collect, countFds, noMoreFdsThan, requireArgumentError } from './support.ts';

const { O_RDWR } = constants;
const O_PATH = 0o10000000;
const addonPath = join(import.meta.dirname, '..', '..', 'native', 'build', 'Release', 'criu_service.node');

describe('held files on a FUSE file system', () => {
  let bench: Bench;
  before(() => {
    bench = new Bench();
  });
  after(() => bench.remove());
  afterEach(() => bench.endHolders());

  /** Mounts a FUSE file system that never answers: for all users, or, with a uid, for that user only. */
  const silent = async (
    context: Mocha.Context,
    path: string,
    ...owner: number[]
  ): Promise<() => Promise<void>> => {
    if (!existsSync('/dev/fuse')) cannotShow(context, 'no /dev/fuse');
    const mount = spawn(bench.path('silent-mount'), [path, ...owner.map(String)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const closed = once(mount, 'close');
    const [said] = await Promise.race([once(mount.stdout, 'data'), closed]);
    if (String(said) !== 'ready\n') cannotShow(context, 'FUSE cannot be mounted here');
    return async () => {
      mount.stdin.end();
      await closed;
    };
  };

  it('are not asked about, if the file system is the caller’s own', async function () {
    mkdirSync(bench.path('fuse-own'));
    const unmount = await silent(this, bench.path('fuse-own'), alice);
    try {
      const holder = await bench.holding(['open', O_PATH, bench.path('fuse-own')]);
      assert.equal(await refusal([holder]), undefined);
      assert.match((await refusal([holder], { who: caller(bob) }))!, /^holds .*fuse-own .*\(EACCES\)$/);
      await holder.end();
    } finally {
      await unmount();
    }
  });

  it('delay only the caller whose files they are: nothing else is read for that caller until they answer', async function () {
    const path = bench.fileOf(alice, 0o600, 'fuse');
    const holder = await bench.holding(['open', O_RDWR, path]);
    const unmount = await silent(this, bench.path('fuse'));
    const reader = new HeldReader(10_000);
    try {
      await assert.rejects(refusal([holder], { reader }), /within 10 s: a file system does not answer/);
      // The waiting thread is alice for file access, and this service for signals and tracing.
      const states = threads();
      const [waiting, ...more] = states.filter(({ uids }) => uids[3] === alice);
      assert.deepEqual(more, []);
      assert.deepEqual(
        [waiting?.uids, waiting?.gids, waiting?.groups],
        [[0, 0, 0, alice], [0, 0, 0, alice], []],
      );
      const { permitted, effective, inheritable, ambient } = waiting!;
      assert.deepEqual([permitted, effective, inheritable, ambient], [0n, 0n, 0n, 0n]);
      const others = states.filter(({ tid }) => tid !== waiting!.tid);
      assert.ok(others.every(({ uids, effective: held }) => uids.every((uid) => uid === 0) && held !== 0n));

      await assert.rejects(reader.read([], caller(alice)), /an earlier tree has yet to be looked through/);
      await reader.read([], caller(bob));
    } finally {
      await unmount();
    }
    for (let tries = 0; ; tries += 1) {
      const looked = await reader.read([], caller(alice)).catch((error: Error) => error);
      if (!(looked instanceof Error)) break;
      assert.ok(tries < 100_000, looked.message);
      await sleep(5);
    }
  });
});

/** The threads of this process, without those that end meanwhile. */
function threads(): ReturnType<typeof parseThreadStatus>[] {
  return readdirSync('/proc/self/task').flatMap((tid) => {
    try {
      return [parseThreadStatus(readFileSync(`/proc/self/task/${tid}/status`, 'latin1'))];
    } catch (error) {
      if (!['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
      return [];
    }
  });
}

describe('a thread that becomes a caller', () => {
  it('answers nothing if it cannot become the caller', () => {
    const script = `
      const addon = { exports: {} };
      process.dlopen(addon, ${JSON.stringify(addonPath)});
      const timer = setTimeout(() => {}, 60_000);
      addon.exports.readHeld([process.pid], { uid: 5, gid: 5, groups: [] }).then(
        () => console.log('answered'),
        (error) => console.log(error.code),
      ).finally(() => clearTimeout(timer));`;
    for (const less of ['setuid', 'setgid']) {
      const argv = [`--bounding-set=-${less}`, `--inh-caps=-${less}`, '--', process.execPath, '-e', script];
      const { stdout, stderr } = spawnSync('setpriv', argv, { encoding: 'utf8' });
      assert.deepEqual([stdout, stderr], ['EPERM\n', '']);
    }
  });

  it('becomes only a user other than root', () => {
    const ask = (uid: unknown, gid: unknown, groups: unknown) => () =>
      native.readHeld([], { uid, gid, groups } as Parameters<typeof native.readHeld>[1]);
    requireArgumentError(ask(0, 5, []), 'caller.uid');
    requireArgumentError(ask(2 ** 32 - 1, 5, []), 'caller.uid');
    requireArgumentError(ask(5, -1, []), 'caller.gid');
    requireArgumentError(ask(5, 5, [2 ** 32 - 1]), 'caller.groups[0]');
    requireArgumentError(ask(5, 5, undefined), 'caller.groups');
    requireArgumentError(() => native.readHeld([0], { uid: 5, gid: 5, groups: [] }), 'processes[0]');
  });

  it('leaves no descriptor after any question', async () => {
    const round = () => native.readHeld([process.pid], { uid: alice, gid: alice, groups: [alice, bob] });
    await round();
    await collect();
    const before = countFds();
    for (let rounds = 0; rounds < 50; rounds += 1) await round();
    await noMoreFdsThan(before);
  });
});
