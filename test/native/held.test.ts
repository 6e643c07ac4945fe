import { strict as assert } from 'node:assert';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, constants, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { constants as os } from 'node:os';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { HeldReader } from '../../src/session/trees/why-held.ts';
import { alice, Bench, bob, caller, type Holder, refusal } from './held/support.ts';

const { O_RDONLY, O_RDWR, O_WRONLY, O_DIRECTORY } = constants;
const O_PATH = 0o10000000;

describe('the holdings of a process', () => {
  let bench: Bench;
  before(() => {
    bench = new Bench();
  });
  after(() => bench.remove());
  afterEach(() => bench.endHolders());

  describe('may be', () => {
    it('files and memory of its own, and files that the kernel makes for every user', async () => {
      const holder = await bench.holding();
      const own = bench.fileOf(alice, 0o600, 'own');
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

    it('equal things, which are reported once', async () => {
      const holder = await bench.holding(['open', O_RDONLY, '/dev/null'], ['open', O_RDONLY, '/dev/null']);
      const { each } = await new HeldReader().read([holder.pid, (await bench.holding()).pid], caller(alice));
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

    it('a deleted file of its own, open for writing', async () => {
      const holder = await bench.holding();
      const path = bench.fileOf(alice, 0o600, 'deleted-own');
      const fd = await holder.do('open', O_RDWR, path);
      rmSync(path);
      assert.equal(holder.target(fd), `${path} (deleted)`);
      assert.equal(await refusal([holder]), undefined);
    });

    it('a moved file of its own, reported by its new path', async () => {
      const path = bench.fileOf(alice, 0o600, 'moved');
      const holder = await bench.holding(['open', O_RDWR, path]);
      renameSync(bench.path('moved'), bench.path('moved-away'));
      symlinkSync(bench.path('moved-away'), bench.path('moved'));
      assert.equal(await refusal([holder]), undefined);
    });

    it('a file that a group of the caller may write', async () => {
      const path = bench.fileOf(0, 0o660, 'group');
      chownSync(path, 0, bob);
      const holder = await bench.holding(['open', O_RDWR, path]);
      assert.equal(await refusal([holder], { who: caller(alice, 5, bob) }), undefined);
      assert.match((await refusal([holder], { who: caller(alice, 5) }))!, /could not open for writing/);
    });

    it('files in /proc of its own processes, and of the caller’s other processes without further rights', async () => {
      const [one, two, other] = [await bench.holding(), await bench.holding(), await bench.holding()];
      await two.do('undumpable');
      const files = ['mem', 'maps', 'stat', 'fd', 'environ'];
      for (const { pid } of [one, other]) {
        for (const name of files)
          await one.do('open', name === 'mem' ? O_RDWR : O_RDONLY, `/proc/${pid}/${name}`);
      }
      const holder = await bench.holding(['open', O_RDWR, `/proc/${two.pid}/mem`]);
      assert.equal(await refusal([one, two, holder]), undefined);
      assert.match(
        (await refusal([one, holder]))!,
        new RegExp(`^holds /proc/${two.pid}/mem .* could not look into`),
      );
    });

    it('files of any process that every user may read, also of an exited process', async () => {
      const roots = bench.start();
      const holder = await bench.holding(
        ['open', O_RDONLY, `/proc/${roots.pid}/stat`],
        ['open', O_RDONLY, `/proc/${roots.pid}/task/${roots.pid}/status`],
        ['open', O_RDONLY | O_DIRECTORY, `/proc/${roots.pid}`],
      );
      assert.equal(await refusal([holder]), undefined);
      await roots.end();
      assert.equal(await refusal([holder]), undefined);
    });

    it('nothing, if only the exit status of the process is left', async () => {
      // The child ends when its parent is a program that reaps nothing: a shell reaps at any command.
      const child = spawn('sh', ['-c', 'cat <&3 & echo $!; exec 3<&-; exec sleep 1000'], {
        stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
      });
      try {
        const [said] = await once(child.stdout!, 'data');
        const zombie = Number(said);
        while (readFileSync(`/proc/${child.pid}/comm`, 'latin1') !== 'sleep\n') await sleep(5);
        (child.stdio[3] as Writable).end();
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

    it('memory or links of another user’s process', async () => {
      const roots = bench.start();
      const bobs = bench.start();
      await bobs.do('become', bob);
      await roots.do('memfd');
      for (const { pid } of [roots, bobs]) {
        for (const name of ['mem', 'maps', 'environ', 'fd', 'map_files', 'ns']) {
          await refused(
            await bench.holding(['open', O_RDONLY, `/proc/${pid}/${name}`]),
            new RegExp(
              `^holds /proc/${pid}/${name} \\(descriptor \\d+ of process \\d+\\), which belongs to a process`,
            ),
          );
        }
      }
    });

    it('anything of the engine’s, even though the engine is the caller’s and has no further rights', async () => {
      const engine = await bench.holding();
      for (const name of ['mem', 'stat', 'comm']) {
        const holder = await bench.holding(['open', O_RDONLY, `/proc/${engine.pid}/${name}`]);
        assert.match((await refusal([holder], { engine: engine.pid }))!, /which is the engine’s$/);
      }
    });

    it('memory of an exited process, even if a process of the tree has its pid now', async () => {
      const gone = await bench.holding();
      const holder = await bench.holding(['open', O_RDWR, `/proc/${gone.pid}/mem`]);
      await gone.end();
      await refused(holder, /^holds .*\/mem .* or to one that has ended$/);
      // The kernel does not mark this link as deleted.
      assert.equal(holder.target(3), `/proc/${gone.pid}/mem`);
      let successor = await bench.holding();
      for (let tries = 0; successor.pid !== gone.pid; tries += 1) {
        assert.ok(tries < 100, 'another process has taken the pid each time');
        await successor.end();
        writeFileSync('/proc/sys/kernel/ns_last_pid', String(gone.pid - 1));
        successor = await bench.holding();
      }
      assert.match((await refusal([holder, successor]))!, /or to one that has ended$/);
    });

    it('this service’s own files in /proc', async () => {
      for (const name of ['maps', 'status']) {
        const looked = await refusal([
          await bench.holding(['open', O_RDONLY, `/proc/${process.pid}/${name}`]),
        ]);
        if (name === 'status') assert.equal(looked, undefined);
        else assert.match(looked!, /belongs to a process/);
      }
    });

    it('another user’s segment, opened for writing, that the caller may only read', async () => {
      const bobs = bench.start();
      await bobs.do('become', bob);
      const link = bobs.mapping(await bobs.do('segment', '644'));
      await refused(await bench.holding(['open', O_RDWR, link]), /^holds \/SYSV.* uid 61501’s$/);
      const mapped = bench.start();
      const fd = await mapped.do('open', O_RDWR, link);
      await mapped.do('map', fd, 'r');
      await mapped.do('close', fd);
      await mapped.do('become', alice);
      await refused(mapped, /^maps \/SYSV.* uid 61501’s$/);
    });

    it('another user’s memfd or unnamed shared memory', async () => {
      const bobs = bench.start();
      await bobs.do('become', bob);
      const memory = `/proc/${bobs.pid}/fd/${await bobs.do('memfd')}`;
      for (const flags of [O_RDWR, O_RDONLY]) {
        await refused(
          await bench.holding(['open', flags, memory]),
          /^holds \/memfd:held \(deleted\).* uid 61501’s$/,
        );
      }
      const hers = await bench.holding();
      const link = hers.mapping(await hers.do('anonymous'));
      await refused(
        await bench.holding(['open', O_RDWR, link]),
        /^holds \/dev\/zero \(deleted\).* was not restored$/,
      );
    });

    it('another user’s deleted file', async () => {
      const path = bench.fileOf(bob, 0o666, 'deleted-bobs');
      const holder = await bench.holding(['open', O_RDWR, path]);
      assert.equal(await refusal([holder]), undefined);
      rmSync(path);
      await refused(holder, /^holds .*deleted-bobs.* uid 61501’s$/);
    });

    it('a file of any owner in a directory that the caller cannot enter', async () => {
      const hidden = bench.fileOf(alice, 0o666, 'hidden', 0o700);
      await refused(
        await bench.holding(['open', O_WRONLY, hidden]),
        /could not open for writing by that path \(EACCES\)$/,
      );
      await refused(
        await bench.holding(['open', O_RDONLY, hidden]),
        /could not open for reading by that path \(EACCES\)$/,
      );
      await refused(await bench.holding(['open', O_PATH, hidden]), /could not find by that path \(EACCES\)$/);
      await refused(
        await bench.holding(['chdir', bench.path('hidden')]),
        /^has the working directory .*\(EACCES\)$/,
      );
      await refused(
        await bench.holding(['open', O_RDONLY | O_DIRECTORY, bench.path('hidden')]),
        /could not open for reading by that path \(EACCES\)$/,
      );
    });

    it('a file opened for writing that the caller may only read, in a descriptor or a mapping', async () => {
      const path = bench.fileOf(bob, 0o644, 'read-only');
      assert.equal(await refusal([await bench.holding(['open', O_RDONLY, path])]), undefined);
      await refused(
        await bench.holding(['open', O_RDWR, path]),
        /could not open for writing by that path \(EACCES\)$/,
      );
      const mapped = bench.start();
      const fd = await mapped.do('open', O_RDWR, path);
      await mapped.do('map', fd, 'r');
      await mapped.do('close', fd);
      await mapped.do('become', alice);
      await refused(mapped, /^maps .*could not open for writing/);
    });

    it('a program that the caller may execute but not read', async () => {
      const holder = bench.start(bench.copyOfHolder('secret', 0o711));
      await holder.do('become', alice);
      await refused(holder, /^maps .*secret.* could not open for reading/);
    });

    it('a file whose path is covered by another file', async () => {
      const path = bench.fileOf(alice, 0o600, 'covered');
      const holder = await bench.holding(['open', O_RDWR, path]);
      execFileSync('mount', ['--bind', bench.fileOf(alice, 0o600, 'cover'), path]);
      try {
        await refused(holder, /^holds .*covered.* which is not what this path leads to$/);
      } finally {
        execFileSync('umount', [path]);
      }
    });

    it('a descriptor in the queue of a socket', async () => {
      const holder = await bench.holding();
      await holder.do('send-away', await holder.do('open', O_RDONLY, '/dev/null'));
      await refused(holder, /^holds socket:.* has 1 descriptors in its queue/);
    });

    it('a file of root’s that a single thread holds, or that is held after the first thread has exited', async () => {
      const secret = bench.fileOf(0, 0o600, 'roots');
      await refused(await bench.holding(['apart', O_RDWR, secret]), /^holds .*roots.*EACCES/);
      await refused(
        await bench.holding(['apart', -1, bench.fileOf(0, 0o600, 'place', 0o700).replace('/file', '')]),
        /^has the working/,
      );
      const left = await bench.holding(['leave'], ['open', O_RDWR, secret]);
      await refused(left, /^holds .*roots.*EACCES/);
      const mapped = bench.start();
      await mapped.do('leave');
      const fd = await mapped.do('open', O_RDWR, secret);
      await mapped.do('map', fd, 'rw');
      await mapped.do('close', fd);
      await mapped.do('become', alice);
      await refused(mapped, /^maps .*roots.*EACCES/);
    });

    it('unknown, as for a process that does not exist', async () => {
      const { each } = await new HeldReader().read([2 ** 22 - 1], caller(alice));
      const [holding] = [...each].map(({ name, failure }) => ({ name, failure }));
      assert.deepEqual(holding, { name: 'task', failure: os.errno.ENOENT });
    });
  });
});
