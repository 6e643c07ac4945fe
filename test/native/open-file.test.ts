import { strict as assert } from 'node:assert';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, constants, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { native, type OwnedFd } from '../../src/native/binding.ts';
import { cannotShow, openNull, requireArgumentError, requireNoLeak, withDirectory } from './support.ts';

const binding = join(import.meta.dirname, '..', '..', 'src', 'native', 'binding.ts');

/** O_PATH of fcntl.h, which node:fs lacks. */
const O_PATH = 0o10000000;

function openedAs(path: string, flags: number, look: (fd: OwnedFd) => void): void {
  const fd = native.open(path, flags);
  try {
    look(fd);
  } finally {
    fd.close();
  }
}

describe('openElsewhere', () => {
  it('tells whether another process has a file open, and whether for writing', () => {
    withDirectory((directory) => {
      const path = join(directory, 'file');
      writeFileSync(path, 'content');
      const seen = (): [boolean, boolean] => {
        const fd = native.open(path, constants.O_RDONLY);
        const both: [boolean, boolean] = [
          native.openElsewhere(fd, 'writer'),
          native.openElsewhere(fd, 'anybody'),
        ];
        fd.close();
        return both;
      };
      assert.deepEqual(seen(), [false, false]);
      openedAs(path, constants.O_RDONLY, () => assert.deepEqual(seen(), [false, true]));
      openedAs(path, constants.O_WRONLY, () => assert.deepEqual(seen(), [true, true]));
      assert.deepEqual(seen(), [false, false]);
    });
  });

  it('finds a writable mapping whose descriptor is closed', async () => {
    const directory = execFileSync('mktemp', ['-d'], { encoding: 'utf8' }).trim();
    const path = join(directory, 'file');
    writeFileSync(path, 'content');
    const mapping = `
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
mapped = mmap.mmap(fd, 7)
os.close(fd)
print('mapped', flush=True)
sys.stdin.read()
`;
    const child = spawn('python3', ['-c', mapping, path], { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      await once(child.stdout, 'data');
      openedAs(path, constants.O_RDONLY, (fd) => assert.ok(native.openElsewhere(fd, 'writer')));
    } finally {
      child.stdin.end();
      await once(child, 'exit');
      execFileSync('rm', ['-r', directory]);
    }
  });

  it('lets others open the file afterwards, and leaves no descriptor', () => {
    withDirectory((directory) => {
      const path = join(directory, 'file');
      writeFileSync(path, '');
      openedAs(path, constants.O_RDONLY, (fd) => {
        native.openElsewhere(fd, 'anybody');
        requireNoLeak(() => native.openElsewhere(fd, 'writer'));
        // If the lease were left, this would wait for /proc/sys/fs/lease-break-time, or fail at once.
        openedAs(path, constants.O_WRONLY | constants.O_NONBLOCK, () => {});
      });
    });
  });

  it('refuses wrong arguments', () => {
    const fd = openNull();
    requireArgumentError(() => native.openElsewhere(fd, 'reader' as 'writer'), 'by');
    fd.close();
    requireArgumentError(() => native.openElsewhere(fd, 'writer'), 'fd');
  });
});

describe('ownership', () => {
  it('tells the owner and the permissions of an open file', () => {
    withDirectory((directory) => {
      chownSync(directory, 1500, 0);
      chmodSync(directory, 0o1775);
      openedAs(directory, constants.O_RDONLY | constants.O_DIRECTORY, (fd) =>
        assert.deepEqual(native.ownership(fd), { uid: 1500, mode: 0o1775 }),
      );
    });
    const closed = openNull();
    closed.close();
    requireArgumentError(() => native.ownership(closed), 'fd');
  });

  it('never waits for a file system that does not answer', async function () {
    if (!existsSync('/dev/fuse')) cannotShow(this, 'no /dev/fuse, and so no directory that never answers');
    const directory = execFileSync('mktemp', ['-d'], { encoding: 'utf8' }).trim();
    const [program, mount] = [join(directory, 'silent-mount'), join(directory, 'mount')];
    const source = join(import.meta.dirname, 'launcher', 'silent-mount.c');
    execFileSync('gcc', ['-o', program, source], { stdio: 'inherit' });
    mkdirSync(mount);
    const server = spawn(program, [mount], { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      assert.equal(String((await once(server.stdout, 'data'))[0]), 'ready\n');
      const script = `
        import { native } from ${JSON.stringify(binding)};
        console.log(JSON.stringify(native.ownership(native.open(${JSON.stringify(mount)}, ${O_PATH}))));`;
      const words = ['--import', 'tsx', '--input-type=module', '--eval', script];
      const { stdout, signal } = spawnSync(process.execPath, words, {
        encoding: 'utf8',
        timeout: 300_000,
        killSignal: 'SIGKILL',
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      assert.equal(signal, null, 'it waited');
      assert.deepEqual(JSON.parse(stdout), { uid: 0, mode: 0 });
    } finally {
      server.stdin.end();
      await once(server, 'exit');
      execFileSync('rm', ['-r', directory]);
    }
  });
});
