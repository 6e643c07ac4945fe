import { strict as assert } from 'node:assert';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants as os } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HeldReader } from '../../src/daemon/why-held.ts';
import { parseThreadStatus } from '../../src/policy/proc-status.ts';
import { native } from '../../src/socket/binding.ts';
import { alice, Bench, bob, caller, type Holder, refusal } from './held/support.ts';
import { cannotShow, collect, countFds, requireArgumentError } from './support.ts';

const { O_RDONLY, O_RDWR, O_WRONLY, O_DIRECTORY } = constants;
const O_PATH = 0o10000000;
const addonPath = join(import.meta.dirname, '..', '..', 'native', 'build', 'Release', 'criu_service.node');

describe('what a process holds', function () {
  this.timeout(60_000);
  let bench: Bench;
  before(() => {
    bench = new Bench();
  });
  after(() => bench.remove());
  afterEach(() => bench.endHolders());

  /** A file of somebody's, in a directory with this mode that is root's. */
  const fileOf = (owner: number, mode: number, name: string, directory = 0o755): string => {
    mkdirSync(bench.path(name), { recursive: true });
    const path = bench.path(name, 'file');
    writeFileSync(path, 'x'.repeat(4096));
    chownSync(path, owner, owner);
    chmodSync(path, mode);
    chmodSync(bench.path(name), directory);
    return path;
  };

  /** What it holds as root, and then as alice. */
  const holding = async (...commands: (string | number)[][]): Promise<Holder> => {
    const holder = bench.start();
    for (const words of commands) await holder.do(...words);
    await holder.do('become', alice);
    return holder;
  };

  describe('may be', () => {
    it('files and memory of its own, and what the kernel makes for everybody', async () => {
      const holder = await holding();
      const own = fileOf(alice, 0o600, 'own');
      const [file, memory] = [await holder.do('open', O_RDWR, own), await holder.do('memfd')];
      for (const fd of [file, memory]) await holder.do('map', fd, 'rw');
      await holder.do('segment', '600');
      await holder.do('open', O_RDWR, '/dev/null');
      await holder.do('open', O_RDONLY, '/etc/passwd');
      await holder.do('open', O_RDONLY | O_DIRECTORY, '/');
      await holder.do('open', O_PATH, '/etc/shadow');
      await holder.do('objects');
      assert.equal(await refusal([holder]), undefined);
    });

    it('told of by each of its links, once for each different thing', async () => {
      const holder = await holding(['open', O_RDONLY, '/dev/null'], ['open', O_RDONLY, '/dev/null']);
      const { each } = await new HeldReader().read([holder.pid, (await holding()).pid], caller(alice));
      const told = [...each]
        .filter(({ target }) => target.startsWith('/'))
        .map(({ pid, name, access, target }) => [pid, name.split('/')[0], access, target]);
      const program = bench.path('holder');
      assert.deepEqual(told.sort(), [
        [holder.pid, 'cwd', 'x', '/'],
        [holder.pid, 'exe', 'x', program],
        [holder.pid, 'fd', 'r', '/dev/null'],
        [holder.pid, 'map_files', 'r', program],
      ]);
    });

    it('a file of its own that was deleted, to write to', async () => {
      const holder = await holding();
      const path = fileOf(alice, 0o600, 'deleted-own');
      const fd = await holder.do('open', O_RDWR, path);
      rmSync(path);
      assert.equal(holder.target(fd), `${path} (deleted)`);
      assert.equal(await refusal([holder]), undefined);
    });

    it('a file of its own that was moved, and is told by its new path', async () => {
      const path = fileOf(alice, 0o600, 'moved');
      const holder = await holding(['open', O_RDWR, path]);
      renameSync(bench.path('moved'), bench.path('moved-away'));
      symlinkSync(bench.path('moved-away'), bench.path('moved'));
      assert.equal(await refusal([holder]), undefined);
    });

    it('a file that one of the caller’s groups may write', async () => {
      const path = fileOf(0, 0o660, 'group');
      chownSync(path, 0, bob);
      const holder = await holding(['open', O_RDWR, path]);
      assert.equal(await refusal([holder], { who: caller(alice, 5, bob) }), undefined);
      assert.match((await refusal([holder], { who: caller(alice, 5) }))!, /could not open for writing/);
    });

    it('whatever is below /proc of its own processes, and of others of the caller’s that have no more', async () => {
      const [one, two, other] = [await holding(), await holding(), await holding()];
      await two.do('undumpable');
      const files = ['mem', 'maps', 'stat', 'fd', 'environ'];
      for (const { pid } of [one, other]) {
        for (const name of files)
          await one.do('open', name === 'mem' ? O_RDWR : O_RDONLY, `/proc/${pid}/${name}`);
      }
      const holder = await holding(['open', O_RDWR, `/proc/${two.pid}/mem`]);
      assert.equal(await refusal([one, two, holder]), undefined);
      assert.match(
        (await refusal([one, holder]))!,
        new RegExp(`^holds /proc/${two.pid}/mem .* could not look into`),
      );
    });

    it('what everybody may read of any process, one that has ended included', async () => {
      const roots = bench.start();
      const holder = await holding(
        ['open', O_RDONLY, `/proc/${roots.pid}/stat`],
        ['open', O_RDONLY, `/proc/${roots.pid}/task/${roots.pid}/status`],
        ['open', O_RDONLY | O_DIRECTORY, `/proc/${roots.pid}`],
      );
      assert.equal(await refusal([holder]), undefined);
      await roots.end();
      assert.equal(await refusal([holder]), undefined);
    });

    it('nothing at all, where it is only an exit status', async () => {
      const child = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 1000'], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      try {
        const [said] = await once(child.stdout, 'data');
        const zombie = Number(said);
        const state = () => /^State:\t(.)/m.exec(readFileSync(`/proc/${zombie}/status`, 'latin1'))![1];
        while (state() !== 'Z') await sleep(5);
        const read = await new HeldReader().read([zombie], caller(alice));
        assert.deepEqual([...read.each], []);
      } finally {
        child.kill('SIGKILL');
        await once(child, 'close');
      }
    });
  });

  describe('must not be', () => {
    const refused = async (holder: Holder, reason: RegExp): Promise<void> =>
      assert.match((await refusal([holder])) ?? 'it may run', reason);

    it('the memory of another’s process, nor its links', async () => {
      const roots = bench.start();
      const bobs = bench.start();
      await bobs.do('become', bob);
      await roots.do('memfd');
      for (const { pid } of [roots, bobs]) {
        for (const name of ['mem', 'maps', 'environ', 'fd', 'map_files', 'ns']) {
          await refused(
            await holding(['open', O_RDONLY, `/proc/${pid}/${name}`]),
            new RegExp(
              `^holds /proc/${pid}/${name} \\(descriptor \\d+ of process \\d+\\), which belongs to a process`,
            ),
          );
        }
      }
    });

    it('anything of the engine’s, though it is the caller’s and has no more', async () => {
      const engine = await holding();
      for (const name of ['mem', 'stat', 'comm']) {
        const holder = await holding(['open', O_RDONLY, `/proc/${engine.pid}/${name}`]);
        assert.match((await refusal([holder], { engine: engine.pid }))!, /which is the engine’s$/);
      }
    });

    it('the memory of a process that has ended, though one of the tree has its pid now', async () => {
      const gone = await holding();
      const holder = await holding(['open', O_RDWR, `/proc/${gone.pid}/mem`]);
      await gone.end();
      await refused(holder, /^holds .*\/mem .* or to one that has ended$/);
      // The kernel does not say of it that it is deleted.
      assert.equal(holder.target(3), `/proc/${gone.pid}/mem`);
      let successor = await holding();
      for (let tries = 0; successor.pid !== gone.pid; tries += 1) {
        assert.ok(tries < 100, 'another process has taken the pid each time');
        await successor.end();
        writeFileSync('/proc/sys/kernel/ns_last_pid', String(gone.pid - 1));
        successor = await holding();
      }
      assert.match((await refusal([holder, successor]))!, /or to one that has ended$/);
    });

    it('this service’s own files in /proc', async () => {
      for (const name of ['maps', 'status']) {
        const looked = await refusal([await holding(['open', O_RDONLY, `/proc/${process.pid}/${name}`])]);
        if (name === 'status') assert.equal(looked, undefined);
        else assert.match(looked!, /belongs to a process/);
      }
    });

    it('a segment of another’s that it may only read, opened for writing', async () => {
      const bobs = bench.start();
      await bobs.do('become', bob);
      const link = bobs.mapping(await bobs.do('segment', '644'));
      await refused(await holding(['open', O_RDWR, link]), /^holds \/SYSV.* uid 61501’s$/);
      const mapped = bench.start();
      const fd = await mapped.do('open', O_RDWR, link);
      await mapped.do('map', fd, 'r');
      await mapped.do('close', fd);
      await mapped.do('become', alice);
      await refused(mapped, /^maps \/SYSV.* uid 61501’s$/);
    });

    it('a memfd of another’s, nor shared memory without a name', async () => {
      const bobs = bench.start();
      await bobs.do('become', bob);
      const memory = `/proc/${bobs.pid}/fd/${await bobs.do('memfd')}`;
      for (const flags of [O_RDWR, O_RDONLY]) {
        await refused(
          await holding(['open', flags, memory]),
          /^holds \/memfd:held \(deleted\).* uid 61501’s$/,
        );
      }
      const hers = await holding();
      const link = hers.mapping(await hers.do('anonymous'));
      await refused(
        await holding(['open', O_RDWR, link]),
        /^holds \/dev\/zero \(deleted\).* was not restored$/,
      );
    });

    it('a deleted file of another’s', async () => {
      const path = fileOf(bob, 0o666, 'deleted-bobs');
      const holder = await holding(['open', O_RDWR, path]);
      assert.equal(await refusal([holder]), undefined);
      rmSync(path);
      await refused(holder, /^holds .*deleted-bobs.* uid 61501’s$/);
    });

    it('a file in a directory that the caller cannot enter, whoever owns it', async () => {
      const hidden = fileOf(alice, 0o666, 'hidden', 0o700);
      await refused(
        await holding(['open', O_WRONLY, hidden]),
        /could not open for writing by that path \(EACCES\)$/,
      );
      await refused(
        await holding(['open', O_RDONLY, hidden]),
        /could not open for reading by that path \(EACCES\)$/,
      );
      await refused(await holding(['open', O_PATH, hidden]), /could not find by that path \(EACCES\)$/);
      await refused(
        await holding(['chdir', bench.path('hidden')]),
        /^has the working directory .*\(EACCES\)$/,
      );
      await refused(
        await holding(['open', O_RDONLY | O_DIRECTORY, bench.path('hidden')]),
        /could not open for reading by that path \(EACCES\)$/,
      );
    });

    it('a file that the caller may read and not write, opened for writing, in a descriptor or a mapping', async () => {
      const path = fileOf(bob, 0o644, 'read-only');
      assert.equal(await refusal([await holding(['open', O_RDONLY, path])]), undefined);
      await refused(
        await holding(['open', O_RDWR, path]),
        /could not open for writing by that path \(EACCES\)$/,
      );
      const mapped = bench.start();
      const fd = await mapped.do('open', O_RDWR, path);
      await mapped.do('map', fd, 'r');
      await mapped.do('close', fd);
      await mapped.do('become', alice);
      await refused(mapped, /^maps .*could not open for writing/);
    });

    it('a program that the caller may execute and not read', async () => {
      const holder = bench.start(bench.copyOfHolder('secret', 0o711));
      await holder.do('become', alice);
      await refused(holder, /^maps .*secret.* could not open for reading/);
    });

    it('a file that another one lies over, at its path', async () => {
      const path = fileOf(alice, 0o600, 'covered');
      const holder = await holding(['open', O_RDWR, path]);
      execFileSync('mount', ['--bind', fileOf(alice, 0o600, 'cover'), path]);
      try {
        await refused(holder, /^holds .*covered.* which is not what this path leads to$/);
      } finally {
        execFileSync('umount', [path]);
      }
    });

    it('a descriptor in the queue of a socket', async () => {
      const holder = await holding();
      await holder.do('send-away', await holder.do('open', O_RDONLY, '/dev/null'));
      await refused(holder, /^holds socket:.* has 1 descriptors in its queue/);
    });

    it('in the table of one of its threads alone, or in that of another when the first has ended', async () => {
      const secret = fileOf(0, 0o600, 'roots');
      await refused(await holding(['apart', O_RDWR, secret]), /^holds .*roots.*EACCES/);
      await refused(
        await holding(['apart', -1, fileOf(0, 0o600, 'place', 0o700).replace('/file', '')]),
        /^has the working/,
      );
      const left = await holding(['leave'], ['open', O_RDWR, secret]);
      await refused(left, /^holds .*roots.*EACCES/);
      const mapped = bench.start();
      await mapped.do('leave');
      const fd = await mapped.do('open', O_RDWR, secret);
      await mapped.do('map', fd, 'rw');
      await mapped.do('close', fd);
      await mapped.do('become', alice);
      await refused(mapped, /^maps .*roots.*EACCES/);
    });

    it('unknown, as of a process that is not there', async () => {
      const { each } = await new HeldReader().read([2 ** 22 - 1], caller(alice));
      const [holding] = [...each].map(({ name, failure }) => ({ name, failure }));
      assert.deepEqual(holding, { name: 'task', failure: os.errno.ENOENT });
    });
  });

  describe('on a file system of FUSE', () => {
    /** Mounts one that never answers: it is everybody's, or, with a uid, that user's own. */
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

    it('is not asked about, where that is the caller’s own', async function () {
      mkdirSync(bench.path('fuse-own'));
      const unmount = await silent(this, bench.path('fuse-own'), alice);
      try {
        const holder = await holding(['open', O_PATH, bench.path('fuse-own')]);
        assert.equal(await refusal([holder]), undefined);
        assert.match((await refusal([holder], { who: caller(bob) }))!, /^holds .*fuse-own .*\(EACCES\)$/);
        await holder.end();
      } finally {
        await unmount();
      }
    });

    it('keeps nobody waiting but the caller, for whom nothing else is looked at until it answers', async function () {
      const path = fileOf(alice, 0o600, 'fuse');
      const holder = await holding(['open', O_RDWR, path]);
      const unmount = await silent(this, bench.path('fuse'));
      const reader = new HeldReader(500);
      try {
        await assert.rejects(refusal([holder], { reader }), /within 0.5 s: a file system does not answer/);
        // What waits is alice for files, and this service for whoever signals or traces it.
        const states = readdirSync('/proc/self/task').map((tid) =>
          parseThreadStatus(readFileSync(`/proc/self/task/${tid}/status`, 'latin1')),
        );
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
        assert.ok(tries < 1000, looked.message);
        await sleep(5);
      }
    });
  });
});

describe('a thread that becomes a caller', () => {
  it('is none when it cannot, and answers nothing', () => {
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

  it('is nobody’s but a user’s', () => {
    const ask = (uid: unknown, gid: unknown, groups: unknown) => () =>
      native.readHeld([], { uid, gid, groups } as Parameters<typeof native.readHeld>[1]);
    requireArgumentError(ask(0, 5, []), 'caller.uid');
    requireArgumentError(ask(2 ** 32 - 1, 5, []), 'caller.uid');
    requireArgumentError(ask(5, -1, []), 'caller.gid');
    requireArgumentError(ask(5, 5, [2 ** 32 - 1]), 'caller.groups[0]');
    requireArgumentError(ask(5, 5, undefined), 'caller.groups');
    requireArgumentError(() => native.readHeld([0], { uid: 5, gid: 5, groups: [] }), 'processes[0]');
  });

  it('leaves no descriptor behind, whatever it was asked', async () => {
    const round = () => native.readHeld([process.pid], { uid: alice, gid: alice, groups: [alice, bob] });
    await round();
    await collect();
    const before = countFds();
    for (let rounds = 0; rounds < 50; rounds += 1) await round();
    for (let tries = 0; countFds() > before; tries += 1) {
      assert.ok(tries < 1000, `${countFds()} descriptors, and ${before} before`);
      await sleep(1);
    }
  });
});
