/** criuctl restore --restore-files: a file that has grown since the dump. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { unshackled } from '../hostile/support/images.ts';
import { as, directoryOf, type User, uids } from '../hostile/support/people.ts';
import { eventually } from './support/bench.ts';
import { criuctlAs, type Ended, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { endProcess, isAlive, isFree } from './support/proc.ts';

/** Writes lines at the end of its file, opened without O_APPEND. */
const program = `
import os, sys, time
file = os.open(sys.argv[1] + '/out', os.O_WRONLY | os.O_CREAT, 0o644)
with open(sys.argv[1] + '/pid.new', 'w') as pid:
    pid.write(str(os.getpid()))
os.rename(sys.argv[1] + '/pid.new', sys.argv[1] + '/pid')
n = 0
while True:
    n += 1
    os.write(file, b'%d\\n' % n)
    time.sleep(0.02)
`;

class Writer {
  readonly user: User;
  readonly directory: string;
  readonly images: string;
  readonly out: string;
  pid = 0;
  /** At the dump. */
  size = 0;

  constructor(user: User) {
    this.user = user;
    this.directory = directoryOf(user);
    this.images = join(this.directory, 'images');
    this.out = join(this.directory, 'out');
  }

  /** Dumped while it runs on, and ended later: its file has grown. */
  async lost(): Promise<this> {
    const options = this.user === 'root' ? [] : unshackled();
    const argv = [...as(this.user, ...options), 'setsid', '--fork', 'python3', '-c', program, this.directory];
    spawn(argv[0]!, argv.slice(1), { stdio: 'ignore' });
    const pid = join(this.directory, 'pid');
    await eventually('it has started', () => existsSync(pid));
    this.pid = Number(readFileSync(pid, 'utf8'));
    must(criuctlAs(this.user, 'dump', `${this.pid}`, '-R', '-D', this.images));
    const { size } = statSync(this.out);
    await eventually('its file grows', () => statSync(this.out).size > size + 10);
    this.end();
    await eventually('it has ended', () => isFree(this.pid));
    const [, expected] = /had (\d+) bytes/.exec(this.restore().stderr)!;
    this.size = Number(expected);
    return this;
  }

  restore(...options: string[]): Ended {
    return criuctlAs(this.user, 'restore', '-D', this.images, ...options);
  }

  get kept(): string {
    return `${this.out}.after-${this.size}`;
  }

  end(): void {
    if (isAlive(this.pid)) endProcess(this.pid);
  }
}

describe('a file that has grown since the dump', () => {
  const writers: Writer[] = [];
  const lost = (user: User): Promise<Writer> => {
    const made = new Writer(user);
    writers.push(made);
    return made.lost();
  };
  afterEach(() => {
    for (const each of writers.splice(0)) each.end();
  });

  for (const user of ['root', 'alice'] as const) {
    it(`is told to ${user} with both sizes; --restore-files puts it back, and keeps what came after`, async () => {
      const one = await lost(user);
      const before = readFileSync(one.out, 'utf8');
      failed(
        one.restore(),
        1,
        new RegExp(
          `^criuctl: RESTORE failed: ${one.out} has ${before.length} bytes, and had ${one.size} bytes at the dump`,
        ),
        /--restore-files/,
      );
      assert.equal(readFileSync(one.out, 'utf8'), before, 'nothing is put back by default');
      const restored = must(one.restore('--restore-files'));
      assert.match(restored.stderr, new RegExp(`bytes that came after are in ${one.kept}`));
      assert.equal(readFileSync(one.kept, 'utf8'), before.slice(one.size));
      assert.equal(statSync(one.kept).uid, uids[user]);
      await eventually('it writes on', () => statSync(one.out).size > one.size + 10);
      assert.equal(readFileSync(one.out, 'utf8').slice(0, one.size), before.slice(0, one.size));
      const numbers = readFileSync(one.out, 'utf8').trim().split('\n').map(Number);
      assert.deepEqual(
        numbers.slice(0, -1),
        numbers.slice(0, -1).map((_, at) => at + 1),
        'no number is missing or twice',
      );
    });

    it(`is as it was after a restore of ${user} that fails, with nothing beside it`, async () => {
      const one = await lost(user);
      const before = readFileSync(one.out, 'utf8');
      renameSync(join(one.images, `core-${one.pid}.img`), join(one.images, 'away'));
      const again = one.restore('--restore-files', '--no-verify');
      assert.equal(again.status, 1, JSON.stringify(again));
      assert.equal(readFileSync(one.out, 'utf8'), before);
      assert.deepEqual(
        readdirSync(one.directory).filter((name) => name.includes('after')),
        [],
      );
    });
  }

  it('is refused, and untouched, if it is not alice’s alone, or if bytes are missing', async () => {
    const one = await lost('alice');
    const before = readFileSync(one.out, 'utf8');
    const refused = (why: RegExp): void => {
      failed(one.restore('--restore-files'), 3, why);
      assert.equal(readFileSync(one.out, 'utf8'), before);
      assert.equal(existsSync(one.kept), false);
    };
    chmodSync(one.out, 0o666);
    refused(/others can write it/);
    chmodSync(one.out, 0o644);
    chownSync(one.out, uids.bob, uids.bob);
    refused(/belongs to somebody else/);
    chownSync(one.out, uids.alice, uids.alice);
    linkSync(one.out, join(one.directory, 'other'));
    refused(/hard link/);
    renameSync(join(one.directory, 'other'), join(directoryOf('alice'), 'x'));
  });

  it('is refused while another process writes it, and behind a link', async () => {
    const one = await lost('alice');
    const before = readFileSync(one.out, 'utf8');
    const [file, ...argv] = [...as('bob'), 'sleep', '1000'];
    const { openSync, closeSync } = await import('node:fs');
    const fd = openSync(one.out, 'a');
    const writer = spawn(file!, argv, { stdio: ['ignore', fd, 'ignore'] });
    closeSync(fd);
    try {
      failed(one.restore('--restore-files'), 3, /a process has it open for writing/);
    } finally {
      writer.kill('SIGKILL');
    }
    await new Promise((ended) => writer.once('close', ended));
    const away = join(directoryOf('bob'), 'out');
    renameSync(one.out, away);
    symlinkSync(away, one.out);
    failed(one.restore('--restore-files'), 3, /is a link/);
    assert.equal(readFileSync(away, 'utf8'), before);
    assert.equal(existsSync(join(dirname(away), `out.after-${one.size}`)), false);
    renameSync(away, one.out);
    truncateSync(one.out, one.size - 1);
    failed(one.restore('--restore-files'), 3, /the bytes that it lacks are not in the images/);
    appendFileSync(one.out, 'x');
    must(one.restore());
  });
});
