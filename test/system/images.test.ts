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
import { unshackled } from '../hostile/support/images.ts';
import { as, directoryOf, type User } from '../hostile/support/people.ts';
import { eventually, run, script } from './support/bench.ts';
import { criuctlAs, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { endProcess, isAlive } from './support/proc.ts';

/** A program with a thread, a child, shared memory, a deleted file, data in a pipe, and a file that it writes. */
const program = `
import mmap, os, threading, time
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
async function dumped(user: User): Promise<{ tree: Tree; images: string }> {
  const tree = await Tree.start(user);
  const images = join(directoryOf(user), 'images');
  must(criuctlAs(user, 'dump', `${tree.pid}`, '-D', images));
  await tree.gone();
  return { tree, images };
}

/** A copy of the images to spoil, as their user made it. */
function copyOf(user: User, images: string): string {
  const copy = join(directoryOf(user), 'copy');
  const [file, ...rest] = [...as(user), 'cp', '-a', images, copy];
  execFileSync(file!, rest);
  return copy;
}

function verdictOf(user: User, images: string, status: number): { verdict: string; whys: string } {
  const ended = criuctlAs(user, 'images', 'verify', images, '--json');
  assert.equal(ended.status, status, JSON.stringify(ended));
  const { verdict, findings } = JSON.parse(ended.stdout);
  return { verdict, whys: findings.map(({ why }: { why: string }) => why).join('\n') };
}

/** Images without which the tree does not come back as it was. */
const needed = /^(pstree|files|(core|ids|mm|fs|fdinfo|pagemap|pagemap-shmem|pages)-\d+|ghost-file-1)\.img$/;

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
      for (const name of names) {
        const copy = copyOf(user, images);
        rmSync(join(copy, name));
        assert.match(verdictOf(user, copy, 3).whys, new RegExp(`^${name} is missing: `, 'm'));
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
      for (const name of names) {
        const copy = copyOf(user, images);
        truncateSync(join(copy, name), statSync(join(copy, name)).size - 1);
        if (name === 'ghost-file-1.img') {
          // Its content reaches to the end of the file, whatever that is: only a digest could tell.
          assert.equal(verdictOf(user, copy, 0).verdict, 'restores');
          continue;
        }
        assert.match(verdictOf(user, copy, 3).whys, new RegExp(name.replace('.', '\\.')));
        failed(
          criuctlAs(user, 'restore', '-D', copy),
          3,
          /RESTORE refused: /,
          new RegExp(name.replace('.', '\\.')),
        );
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
