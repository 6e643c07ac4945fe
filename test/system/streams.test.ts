/** Standard streams whose other end was outside of the tree: criuctl restore puts other files in their places. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { unshackled } from '../hostile/support/images.ts';
import { as, type User } from '../hostile/support/people.ts';
import { eventually, run } from './support/bench.ts';
import { failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { isAlive } from './support/proc.ts';
import { atTerminal, type Step } from './support/session.ts';
import { gets, Speaker, speakingProgram } from './support/speaker.ts';

const users = ['root', 'alice'] as const;

describe('a standard stream that was lost', () => {
  const speakers: Speaker[] = [];
  const speaker = (user: User): Speaker => {
    const made = new Speaker(user);
    speakers.push(made);
    return made;
  };
  afterEach(() => {
    for (const each of speakers.splice(0)) each.end();
  });
  const piped = 'setsid "$@" 2>&1 | cat >/dev/null';

  for (const user of users) {
    it(`is a file of ${user}’s after --stdout: what the file held already stays, and standard error goes along`, async () => {
      const one = await speaker(user).start(piped);
      await one.dump();
      const out = one.file('out', 'before\n');
      must(one.restore('--stdout', out));
      await gets(out, /out \d+\nerr \d+\n/g);
      assert.deepEqual([one.leadsTo(1), one.leadsTo(2)], [out, out]);
      assert.match(readFileSync(out, 'utf8'), /^before\nout \d+\nerr \d+\n/);
      assert.deepEqual(
        readdirSync(one.images).filter((name) => name.startsWith('.')),
        [],
        'nothing is left beside the images',
      );
    });

    it(`is for ${user} a file each after --stdout and --stderr, also if both were the same pipe`, async () => {
      const one = await speaker(user).start(piped);
      await one.dump();
      const [out, err] = [join(one.directory, 'out'), join(one.directory, 'err')];
      must(one.restore('--stdout', out, '--stderr', err));
      await gets(out, /out \d+\n/g);
      await gets(err, /err \d+\n/g);
      assert.doesNotMatch(readFileSync(out, 'utf8'), /err/);
    });

    it(`is criuctl’s own for ${user} after -: the next command of a pipeline reads it`, async () => {
      const one = await speaker(user).start(piped);
      await one.dump();
      const [file, ...argv] = [...as(user), 'criuctl', 'restore', '-D', one.images, '--stdout', '-'];
      const child = spawn(file!, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
      let said = '';
      (child.stdout as Readable).on('data', (data: Buffer) => {
        said += data.toString();
      });
      await eventually('the pipe gets more', () => /out \d+\nerr \d+\nout/.test(said));
      child.stdout.destroy();
      await eventually('the program has lost its reader', () => !isAlive(one.pid));
    });

    it(`is for ${user} a file that the program reads after --stdin`, async () => {
      const one = await speaker(user).start(
        'tail -f /dev/null | setsid "$@" >/dev/null 2>&1',
        'ignore',
        'listen',
      );
      await one.dump();
      const out = join(one.directory, 'out');
      must(one.restore('--stdin', one.file('in', 'a line\n'), '--stdout', out));
      await gets(out, /out/g);
      assert.match(readFileSync(out, 'utf8'), /heard a line\n/);
    });

    it(`of a terminal is for ${user} three files, and the program needs no terminal any more`, async () => {
      const one = speaker(user);
      const session = await one.atTerminal();
      try {
        await one.dump('--shell-job');
      } finally {
        session.end();
      }
      const out = join(one.directory, 'out');
      const input = one.file('in', 'hello\n');
      must(one.restore('--shell-job', '--stdin', input, '--stdout', out, '--stderr', out));
      await gets(out, /out \d+\nerr \d+\n/g);
      assert.match(readFileSync(out, 'utf8'), /heard hello\n/);
    });
  }

  for (const user of users) {
    it(`ends the program of ${user} a moment after a restore without it, and criuctl says so`, async () => {
      const one = await speaker(user).start(piped);
      await one.dump();
      const ended = one.restore();
      assert.equal(ended.status, 6, JSON.stringify(ended));
      assert.equal(ended.stdout, `${one.pid}\n`);
      assert.match(ended.stderr, /was restored, and does not run any more: it .*ended/);
      assert.match(
        ended.stderr,
        /standard output and standard error is lost: restore it with --stdout FILE --stderr FILE/,
      );
      const { ended: told } = JSON.parse(one.restore('--json').stdout);
      assert.equal(told, true);
      must(one.restore('--stdout', join(one.directory, 'out')));
    });
  }

  it('of a terminal may be a file while alice types at the terminal', async () => {
    const one = speaker('alice');
    const session = await one.atTerminal();
    try {
      await one.dump('--shell-job');
    } finally {
      session.end();
    }
    const out = join(one.directory, 'out');
    const steps: Step[] = [
      ['expect', 'runs again'],
      ['type', 'hello\n'],
      ['expect', 'hello'],
      ['type', '\x1dd'],
      ['expect', 'runs on'],
    ];
    const seen = atTerminal('alice', steps, 'criuctl', 'restore', '-D', one.images, '--stdout', out);
    assert.deepEqual([seen.status, seen.missed], [0, undefined], seen.screen);
    await gets(out, /out \d+\n/g);
    assert.match(readFileSync(out, 'utf8'), /heard hello\n/);
  });

  it('is a socket whose peer is gone: a file of alice’s takes its place', async () => {
    const one = speaker('alice');
    const options = { stdio: ['ignore', 'pipe', 'ignore'] as ['ignore', 'pipe', 'ignore'] };
    const pidFile = join(one.directory, 'pid');
    const argv = [...as('alice', ...unshackled()), 'setsid', 'python3', '-c', speakingProgram, pidFile];
    // Node’s pipes to children are pairs of sockets.
    const child = spawn(argv[0]!, argv.slice(1), options);
    child.stdout!.resume();
    await one.begun();
    const inode = (link: string): string => /^socket:\[(\d+)\]$/.exec(link)![1]!;
    const own = inode(one.leadsTo(1));
    const { fd } = (child.stdout as Readable & { _handle: { fd: number } })._handle;
    const peer = inode(readlinkSync(`/proc/self/fd/${fd}`));
    await one.dump('--external', `unix[${own}]`, '--external', `unix[${peer}]`);
    await eventually('its parent knows', () => child.exitCode !== null || child.signalCode !== null);
    const out = join(one.directory, 'out');
    must(one.restore('--stdout', out));
    await gets(out, /out/g);
  });

  it('gets no directory, no named pipe, and no file that alice may not open: nothing is restored', async () => {
    const one = await speaker('alice').start(piped);
    await one.dump();
    const directory = join(one.directory, 'directory');
    mkdirSync(directory);
    const fifo = join(one.directory, 'fifo');
    run('mkfifo', fifo);
    failed(one.restore('--stdout', directory), 2, /is a directory/, /say --stdout -/);
    failed(one.restore('--stdin', fifo), 2, /is a named pipe/);
    failed(one.restore('--stdin', join(one.directory, 'none')), 5, /cannot be read/);
    failed(one.restore('--stdout', '/etc/passwd'), 5, /cannot be written/);
    assert.equal(isAlive(one.pid), false);
  });
});
