import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { linkSync } from 'node:fs';
import { join } from 'node:path';
import { core, pageSize, regular, smallDump, space } from './support/dump.ts';
import { type Fields, image, withFiles } from './support/encode.ts';

const program = join(import.meta.dirname, 'support/read-in-little-memory.ts');
const tasks = 100;
const mostHeapMiB = 40;
/** PATH_MAX */
const mostPath = 4096;

/** So many tasks whose images are the same files: such a directory takes no room on a disk. */
function readSame(
  images: Readonly<Record<string, Uint8Array>>,
  others: Readonly<Record<string, Uint8Array>> = {},
  count = tasks,
): { readonly contents: number; readonly tasks: number } {
  const pids = Array.from({ length: count }, (_, index) => 1000 + index);
  const tree = pids.map((pid, index) => ({
    pid,
    ppid: index && 1000,
    pgid: 1000,
    sid: 1000,
    threads: [pid],
  }));
  const first = Object.entries({ ...ofTask, ...images });
  const files = {
    ...smallDump(),
    'pstree.img': image('PSTREE', ...tree),
    ...Object.fromEntries(first.map(([kind, bytes]) => [`${kind}-1000.img`, bytes])),
    ...others,
  };
  return withFiles(files, (path) => {
    for (const [kind] of first)
      for (const pid of pids.slice(1))
        linkSync(join(path, `${kind}-1000.img`), join(path, `${kind}-${pid}.img`));
    const argv = ['--import=tsx', `--max-old-space-size=${mostHeapMiB}`, program, path];
    const { status, stdout, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout);
  });
}

const ofTask = {
  core: image('CORE', core('sleep')),
  ids: image('IDS', { vm_id: 2, files_id: 2, fs_id: 2, sighand_id: 2 }),
  mm: image('MM', space()),
  fs: image('FS', { cwd_id: 3, root_id: 4 }),
  pagemap: image('PAGEMAP', { pages_id: 1 }, { vaddr: 0x10000, compat_nr_pages: 3, flags: 4 }),
};

describe('show and verify take little memory', () => {
  it('where each task has 65,536 groups', () => {
    const creds: Fields = { groups: Array<number>(65_536).fill(5) };
    const said = readSame({ core: image('CORE', core('sleep', { creds })) });
    assert.equal(said.tasks, tasks);
  });

  it('where each task has a name of a megabyte', () => {
    const { contents } = readSame({ core: image('CORE', core('x'.repeat(1 << 20))) });
    assert.ok(contents < tasks * 2000, `${contents}`);
  });

  it('where the command line of each task is a page of zeros', () => {
    const long = { mm_arg_start: 0x10000, mm_arg_end: 0x11000 };
    const zeros = { 'pages-1.img': Buffer.alloc(3 * pageSize) };
    const { contents } = readSame({ mm: image('MM', space(long)) }, zeros, 15 * tasks);
    // An empty word takes three characters; all words together are of two MiB at most.
    assert.ok(contents < 15 * tasks * 500 + 3 * 2 ** 21, `${contents}`);
  });

  it('where the paths of open files are longer than any path', () => {
    const open = Array.from({ length: 100 }, (_, index) => regular(index + 1, `/${'y'.repeat(1 << 20)}`));
    const { contents } = readSame({}, { 'files.img': image('FILES', ...open) });
    // Each task has the executable.
    assert.ok(contents < tasks * 2000 + (tasks + open.length) * mostPath, `${contents}`);
  });
});
