/** criuctl images, and the look at images before a restore: what a damaged directory would have brought back is not tried. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { kernelTracksMemory } from '../../src/proc/memory-tracking.ts';
import { unshackled } from '../hostile/support/images.ts';
import { as, directoryOf, type User } from '../hostile/support/people.ts';
import { commandMs, eventually, run, script } from './support/bench.ts';
import { criuctlAs, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { endProcess, isAlive } from './support/proc.ts';

/**
 * A program with a thread, a child, shared memory, a deleted file, data in a pipe, and a file that it writes. At SIGUSR1 it changes two
 * pages and appends four bytes.
 */
const program = `
import mmap, os, signal, threading, time
block = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); block[:] = b"x" * (1 << 20)
def change(*_):
    block[0:4] = b"abcd"; block[40000:40004] = b"abcd"
    out.write("more"); out.flush(); open("changed", "w").close()
signal.signal(signal.SIGUSR1, change)
out = open("out", "w"); out.write("0123456789"); out.flush()
gone = open("gone", "w"); gone.write("ghost"); gone.flush(); os.unlink("gone")
shared = mmap.mmap(-1, 1 << 20); shared[0:4] = b"abcd"
r, w = os.pipe(); os.write(w, b"hello")
threading.Thread(target=lambda: time.sleep(1e6), daemon=True).start()
child = os.fork()
if child:
    ready = open("made", "w"); ready.write(str(child)); ready.close(); os.rename("made", "ready")
while True: time.sleep(0.1)
`;

class Tree {
  readonly directory: string;
  readonly pid: number;
  readonly child: number;
  readonly #process: ChildProcess;

  private constructor(directory: string, process: ChildProcess, child: number) {
    this.directory = directory;
    this.#process = process;
    this.pid = process.pid!;
    this.child = child;
  }

  static async start(user: User): Promise<Tree> {
    const directory = directoryOf(user);
    const options = user === 'root' ? [] : unshackled();
    const [file, ...rest] = [...as(user, ...options), '/usr/bin/python3', '-c', program];
    const process = spawn(file!, rest, { stdio: 'ignore', detached: true, cwd: directory });
    const ready = join(directory, 'ready');
    await eventually('the program is ready', () => existsSync(ready));
    return new Tree(directory, process, Number(readFileSync(ready, 'utf8')));
  }

  get runs(): boolean {
    return this.#process.exitCode === null && isAlive(this.pid);
  }

  gone(): Promise<void> {
    return eventually('the tree is gone', () =>
      [this.pid, this.child].every((pid) => !existsSync(`/proc/${pid}`)),
    );
  }

  async end(): Promise<void> {
    for (const pid of [this.pid, this.child]) if (isAlive(pid)) endProcess(pid);
    await this.gone();
  }
}

/** A dump of a tree that has ended with it, in a directory that only its user can read. */
async function dumped(user: User, ...options: string[]): Promise<{ tree: Tree; images: string }> {
  const tree = await Tree.start(user);
  const images = join(directoryOf(user), 'images');
  must(criuctlAs(user, 'dump', `${tree.pid}`, '-D', images, ...options));
  await tree.gone();
  return { tree, images };
}

/** A copy of the images to spoil, as their user made it. Without their manifest, they are judged by what they call for. */
function copyOf(user: User, images: string, manifest: 'with' | 'without' = 'without'): string {
  const copy = join(directoryOf(user), 'copy');
  const [file, ...rest] = [...as(user), 'cp', '-a', images, copy];
  execFileSync(file!, rest);
  if (manifest === 'without') rmSync(join(copy, 'manifest.json'));
  return copy;
}

function verdictOf(user: User, images: string, status: number): { verdict: string; whys: string } {
  const ended = criuctlAs(user, 'images', 'verify', images, '--json');
  assert.equal(ended.status, status, JSON.stringify(ended));
  const { verdict, findings } = JSON.parse(ended.stdout);
  return { verdict, whys: findings.map(({ why }: { why: string }) => why).join('\n') };
}

/** Verdicts about directories as their user, in the same order, by a single program. */
function verdictsOf(user: User, directories: readonly string[]): { verdict: string; whys: string }[] {
  const [file, ...rest] = [...as(user), 'node', script('verdicts.mjs'), ...directories];
  return JSON.parse(execFileSync(file!, rest, { encoding: 'utf8', timeout: commandMs }));
}

/** Images without which the tree does not come back as it was. */
const needed = /^(pstree|files|(core|ids|mm|fs|fdinfo|pagemap|pagemap-shmem|pages)-\d+|ghost-file-1)\.img$/;

/** Images of each sort for a reader: whole, with payload, and of memory. */
const restored = /^(inventory|core-\d+|pipes-data|pagemap-\d+|pages-\d+)\.img$/;

/** Images whose absence tells nobody, and that CRIU cannot read when they are cut off. */
const alone = /^(inventory|pipes-data|remap-fpath|memfd|cgroup)\.img$/;

/** An image of each kind, and each of those that differ by what they belong to: threads, and memory of its own and shared. */
function someOf(names: readonly string[]): string[] {
  const kindOf = (name: string): string => name.replace(/\d+/, 'N');
  return names.filter(
    (name, at) =>
      /^(core|pages)-/.test(name) || names.findIndex((each) => kindOf(each) === kindOf(name)) === at,
  );
}

/** The first bytes of the memory that the tree shares. */
function sharedBytes(pid: number): string {
  const [, from] = /^([0-9a-f]+)-[0-9a-f]+ rw-s .*$/m.exec(readFileSync(`/proc/${pid}/maps`, 'utf8'))!;
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    const bytes = Buffer.alloc(4);
    readSync(memory, bytes, 0, 4, Number.parseInt(from!, 16));
    return bytes.toString('latin1');
  } finally {
    closeSync(memory);
  }
}

for (const user of ['root', 'alice'] as const) {
  describe(`images of ${user}`, () => {
    it(`are shown, are the same as crit decodes them, and are verified before and after their restore (${user})`, async () => {
      const { tree, images } = await dumped(user);
      try {
        const shown = JSON.parse(must(criuctlAs(user, 'images', 'show', images, '--json')).stdout);
        assert.deepEqual(shown.faults, []);
        assert.deepEqual(
          shown.tasks.map(
            ({ pid, threads, commandLine }: { pid: number; threads: number[]; commandLine: string[] }) => [
              pid,
              threads.length,
              commandLine.slice(0, 2),
            ],
          ),
          [
            [tree.pid, 2, ['/usr/bin/python3', '-c']],
            [tree.child, 1, ['/usr/bin/python3', '-c']],
          ],
        );
        assert.equal(shown.files.ghosts, 1);
        const compared = run('/usr/bin/python3', script('compare-crit.py'), images).trim().split('\n');
        assert.equal(compared.length, 1, compared.join('\n'));
        assert.ok(Number(compared[0]) > 15, compared[0]);

        assert.deepEqual(verdictOf(user, images, 0), { verdict: 'restores', whys: '' });
        must(criuctlAs(user, 'restore', '-D', images));
        assert.ok(isAlive(tree.pid) && isAlive(tree.child));
        assert.match(
          verdictOf(user, images, 3).whys,
          new RegExp(`pid ${tree.pid}, .* process ${tree.pid} \\(python3\\) of ${user}`),
        );
      } finally {
        await tree.end();
      }
    });

    it(`are not restored when an image is missing, with a sentence, and CRIU would not have brought them back (${user})`, async () => {
      const { tree, images } = await dumped(user);
      const names = someOf(readdirSync(images).filter((name) => needed.test(name)));
      assert.ok(names.length >= 15, names.join(' '));
      const copies = names.map((name) => {
        const copy = copyOf(user, images);
        rmSync(join(copy, name));
        return copy;
      });
      const verdicts = verdictsOf(user, copies);
      for (const [at, name] of names.entries()) {
        const copy = copies[at]!;
        assert.equal(verdicts[at]!.verdict, 'does-not-restore', name);
        assert.match(verdicts[at]!.whys, new RegExp(`^${name} is missing: `, 'm'));
        failed(
          criuctlAs(user, 'restore', '-D', copy),
          3,
          new RegExp(`RESTORE refused: ${name} is missing: `),
          /--no-verify/,
        );
        // CRIU fails, or takes the image for empty: descriptors and shared memory are lost without a word.
        const tried = criuctlAs(user, 'restore', '-D', copy, '--no-verify');
        if (tried.status === 0) {
          const lost = [tree.pid, tree.child].some(
            (pid) => readdirSync(`/proc/${pid}/fd`).length === 0 || sharedBytes(pid) !== 'abcd',
          );
          await tree.end();
          assert.ok(lost, `${name} was not needed`);
        } else await tree.gone();
      }
    });

    it(`are not restored when an image is cut off, with a sentence (${user})`, async () => {
      const { images } = await dumped(user);
      const names = someOf(readdirSync(images).filter((name) => needed.test(name) || alone.test(name)));
      assert.ok(names.length >= 19, names.join(' '));
      const copies = names.map((name) => {
        const copy = copyOf(user, images);
        truncateSync(join(copy, name), statSync(join(copy, name)).size - 1);
        return copy;
      });
      const verdicts = verdictsOf(user, copies);
      for (const [at, name] of names.entries()) {
        const copy = copies[at]!;
        const { verdict, whys } = verdicts[at]!;
        // Its content reaches to the end of the file, whatever that is: only a digest could tell.
        assert.equal(verdict, name === 'ghost-file-1.img' ? 'restores' : 'does-not-restore', name);
        if (verdict === 'restores') continue;
        assert.match(whys, new RegExp(name.replace('.', '\\.')));
        failed(
          criuctlAs(user, 'restore', '-D', copy),
          3,
          /RESTORE refused: /,
          new RegExp(name.replace('.', '\\.')),
        );
      }
    });

    it(`have a manifest, by which each missing, shortened, lengthened or changed image is found, with a sentence (${user})`, async () => {
      const { tree, images } = await dumped(user, '--digest-pages');
      const manifest = JSON.parse(readFileSync(join(images, 'manifest.json'), 'utf8'));
      const names = readdirSync(images).filter((name) => name.endsWith('.img') && name !== 'cpuinfo.img');
      assert.deepEqual(
        manifest.files.map(({ name }: { name: string }) => name),
        names.sort(),
      );
      for (const { name, bytes, sha256 } of manifest.files) {
        assert.equal(statSync(join(images, name)).size, bytes);
        assert.equal(run('sha256sum', join(images, name)).split(' ')[0], sha256, name);
      }
      assert.deepEqual(
        [manifest.user.name, manifest.leftRunning, manifest.tasks.map(({ pid }: { pid: number }) => pid)],
        [user, false, [tree.pid, tree.child]],
      );
      assert.match(manifest.criu, /^[34]\.\d+/);
      assert.equal(manifest.machine.kernel, run('uname', '-r').trim());
      const [own, whole] = [statSync(images), statSync(join(images, 'manifest.json'))];
      assert.deepEqual([whole.uid, whole.gid, whole.mode & 0o777], [own.uid, own.gid, 0o600]);

      const flip = (path: string): void => {
        const bytes = readFileSync(path);
        bytes[bytes.length >> 1]! ^= 1;
        writeFileSync(path, bytes);
      };
      for (const [what, spoil, why] of [
        ['missing', (path) => rmSync(path), 'is missing'],
        ['shortened', (path) => truncateSync(path, statSync(path).size - 1), ''],
        ['lengthened', (path) => truncateSync(path, statSync(path).size + 1), ''],
        ['changed', flip, ''],
      ] as readonly [string, (path: string) => void, string][]) {
        const some = someOf(names);
        const copies = some.map((name) => {
          const copy = copyOf(user, images, 'with');
          spoil(join(copy, name));
          return copy;
        });
        for (const [at, { verdict, whys }] of verdictsOf(user, copies).entries()) {
          const name = some[at]!;
          assert.equal(verdict, 'does-not-restore', `${what} ${name}`);
          assert.match(whys, new RegExp(`^${name.replace('.', '\\.')} .*${why}`, 'm'), `${what} ${name}`);
        }
        assert.equal(verdictOf(user, copies[0]!, 3).verdict, 'does-not-restore');
        // A restore asks the same reader. It reads no pages for their digest.
        for (const [at, name] of some.entries()) {
          if (!restored.test(name) || (name.startsWith('pages-') && what === 'changed')) continue;
          failed(criuctlAs(user, 'restore', '-D', copies[at]!), 3, /RESTORE refused: /);
        }
      }
      assert.equal(verdictOf(user, images, 0).verdict, 'restores');
      must(criuctlAs(user, 'restore', '-D', images));
      await tree.end();
    });

    it(`have a manifest with the images of each round after a live dump, and a new manifest when they are replaced (${user})`, async () => {
      const tree = await Tree.start(user);
      const images = join(directoryOf(user), 'images');
      const listed = (): { name: string }[] =>
        JSON.parse(readFileSync(join(images, 'manifest.json'), 'utf8')).files;
      try {
        const dump = ['dump', `${tree.pid}`, '-D', images, '--leave-running'];
        if (!kernelTracksMemory()) {
          must(criuctlAs(user, ...dump));
        } else {
          must(criuctlAs(user, ...dump, '--live'));
          assert.ok(listed().some(({ name }) => name === 'round-1/inventory.img'));
          failed(criuctlAs(user, ...dump, '--live'), 3, /holds images of an earlier dump/);
          must(criuctlAs(user, ...dump, '--live', '--replace'));
          assert.ok(listed().some(({ name }) => name === 'round-1/inventory.img'));
          rmSync(join(images, 'round-1', `pagemap-${tree.pid}.img`));
          assert.match(verdictOf(user, images, 3).whys, /round-1/);
        }
        const before = readFileSync(join(images, 'inventory.img'));
        must(criuctlAs(user, ...dump, '--replace'));
        assert.notDeepEqual(readFileSync(join(images, 'inventory.img')), before);
        assert.ok(listed().every(({ name }) => !name.startsWith('round-')));
        assert.doesNotMatch(verdictOf(user, images, 3).whys, /\.img|manifest/);
      } finally {
        await tree.end();
      }
    });

    it(`are compared, measured and pruned: what has changed is told, and the newest dump comes back (${user})`, async () => {
      const tree = await Tree.start(user);
      const series = directoryOf(user);
      const dump = (name: string, ...options: string[]): void => {
        must(criuctlAs(user, 'dump', `${tree.pid}`, '-D', join(series, name), '--leave-running', ...options));
      };
      const tracks = kernelTracksMemory();
      const since = (name: string): string[] =>
        tracks ? ['--track-mem', '--prev-images-dir', `../${name}`] : [];
      try {
        dump('1', ...(tracks ? ['--track-mem'] : []));
        process.kill(tree.pid, 'SIGUSR1');
        await eventually('the program has changed', () => existsSync(join(tree.directory, 'changed')));
        dump('2', ...since('1'));
        const words = [join(series, '1'), join(series, '2'), '--json'];
        const { tasks, files, faults } = JSON.parse(
          must(criuctlAs(user, 'images', 'compare', ...words)).stdout,
        );
        assert.deepEqual(faults, []);
        assert.deepEqual(
          tasks.map(({ pid, is, changes }: { pid: number; is: string; changes: string[] }) => [
            pid,
            is,
            changes,
          ]),
          [tree.pid, tree.child].map((pid) => [pid, 'in both', []]),
        );
        const [{ mappings, memory }] = tasks;
        // The block has two pages; the interpreter has changed some of its own.
        assert.ok(mappings.items.some(({ bytes }: { bytes: { changed: number } }) => bytes.changed === 8192));
        assert.ok(memory.same > 1 << 20 && memory.unknown === 0, JSON.stringify(memory));
        assert.deepEqual(files.items, [
          { path: join(tree.directory, 'out'), is: '14 bytes instead of 10, at byte 14 instead of 10' },
        ]);
        const alike = criuctlAs(user, 'images', 'compare', join(series, '1'), join(series, '1'));
        assert.match(must(alike).stdout, /2 tasks without a difference/);

        const { directories, total } = JSON.parse(
          must(criuctlAs(user, 'images', 'size', join(series, '2'), '--json')).stdout,
        );
        assert.equal(directories.length, tracks ? 2 : 1);
        assert.equal(directories[0].inParents > 1 << 20, tracks);
        const du = run('du', '-sb', ...directories.map(({ directory }: { directory: string }) => directory));
        const apparent = du
          .trim()
          .split('\n')
          .reduce((sum, line) => sum + Number(line.split('\t')[0]), 0);
        // du counts the directories themselves.
        assert.ok(total.bytes <= apparent && total.bytes > apparent - 1e5, `${total.bytes} ${du}`);

        for (const name of ['3', '4'])
          dump(name, ...(name === '4' ? since('3') : tracks ? ['--track-mem'] : []));
        rmSync(join(series, '4', 'inventory.img'));
        const left = (): string[] =>
          readdirSync(series)
            .filter((name) => /^\d+$/.test(name))
            .sort();
        const prune = (...more: string[]): void => {
          must(criuctlAs(user, 'images', 'prune', series, ...more));
        };
        prune('--keep', '1', '--dry-run');
        assert.deepEqual(left(), ['1', '2', '3', '4']);
        prune('--keep', '2');
        assert.deepEqual(left(), tracks ? ['1', '2', '3', '4'] : ['2', '3', '4']);
        prune('--keep', '1');
        assert.deepEqual(left(), ['3', '4']);
        failed(criuctlAs(user, 'images', 'prune', series), 2, /--keep N/);
        await tree.end();
        truncateSync(join(tree.directory, 'out'), 14);
        must(criuctlAs(user, 'restore', '-D', join(series, '3')));
        assert.ok(isAlive(tree.pid) && isAlive(tree.child));
      } finally {
        await tree.end();
      }
    });

    const changes: readonly [what: string, change: (tree: Tree) => () => void, reason: RegExp][] = [
      [
        'a file is longer',
        ({ directory }) => {
          writeFileSync(join(directory, 'out'), 'more', { flag: 'a' });
          return () => truncateSync(join(directory, 'out'), 10);
        },
        /out has 14 bytes, and had 10 at the dump/,
      ],
      [
        'a file has another mode',
        ({ directory }) => {
          const { mode } = statSync(join(directory, 'out'));
          chmodSync(join(directory, 'out'), 0o600);
          return () => chmodSync(join(directory, 'out'), mode);
        },
        /out has mode 0600, and had 06/,
      ],
      [
        'a file is gone',
        ({ directory }) => {
          renameSync(join(directory, 'out'), join(directory, 'moved'));
          return () => renameSync(join(directory, 'moved'), join(directory, 'out'));
        },
        /out is missing/,
      ],
      [
        'the working directory is gone',
        ({ directory }) => {
          renameSync(directory, `${directory}-moved`);
          return () => renameSync(`${directory}-moved`, directory);
        },
        /the directory .* is missing/,
      ],
    ];
    it(`do not restore on a machine that has changed, as the verification says, and do when it is as before (${user})`, async () => {
      const { tree, images } = await dumped(user);
      try {
        for (const [what, change, reason] of changes) {
          const undo = change(tree);
          assert.match(verdictOf(user, images, 3).whys, reason, what);
          failed(criuctlAs(user, 'restore', '-D', images), 1);
          await tree.gone();
          undo();
          assert.equal(verdictOf(user, images, 0).verdict, 'restores', what);
        }
        must(criuctlAs(user, 'restore', '-D', images));
        assert.ok(isAlive(tree.pid) && isAlive(tree.child));
      } finally {
        await tree.end();
      }
    });
  });
}
