/** Descriptors that alice puts in the place of lost ones (inherit_fd, criuctl --inherit-fd). */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { ReqType } from '../../src/protocol/messages.ts';
import { Attacker } from '../hostile/support/attacker.ts';
import { unshackled, waitFor, waitForReply } from '../hostile/support/images.ts';
import { as, directoryOf, uids } from '../hostile/support/people.ts';
import { commandMs, eventually } from './support/bench.ts';
import { ourAddress } from './support/client.ts';
import { criuctlAs, type Ended, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { endProcess, isAlive, isFree } from './support/proc.ts';

const speaker = `
import os, sys, time
with open(sys.argv[1] + '.new', 'w') as file:
    file.write(str(os.getpid()))
os.rename(sys.argv[1] + '.new', sys.argv[1])
n = 0
while True:
    n += 1
    os.write(1, b'%d\\n' % n)
    time.sleep(0.02)
`;

class Speaker {
  readonly images = join(directoryOf('alice'), 'images');
  readonly #pidFile = join(directoryOf('alice'), 'pid');
  child: ChildProcess | undefined;
  pid = 0;

  /** @param script a command line of a shell with the program as "$@"; its standard output leads outside. */
  async start(script: string, stdout: 'pipe' | 'ignore' | number): Promise<this> {
    const program = ['python3', '-c', speaker, this.#pidFile];
    const [file, ...argv] = [...as('alice', ...unshackled()), 'sh', '-c', script, 'sh', ...program];
    this.child = spawn(file!, argv, { stdio: ['ignore', stdout, 'ignore'], detached: true });
    this.child.stdout?.resume();
    await eventually('it has started', () => existsSync(this.#pidFile));
    this.pid = Number(readFileSync(this.#pidFile, 'utf8'));
    return this;
  }

  get stdout(): string {
    return readlinkSync(`/proc/${this.pid}/fd/1`);
  }

  async dump(...options: string[]): Promise<void> {
    // Without --force, criuctl refuses the dump of a program whose descriptor is lost.
    must(criuctlAs('alice', 'dump', `${this.pid}`, '--force', '-D', this.images, ...options));
    await eventually('it has ended', () => isFree(this.pid));
  }

  restore(...options: string[]): Ended {
    return criuctlAs('alice', 'restore', '-D', this.images, ...options);
  }

  /** @param redirection of descriptor 7, in a shell of alice's. */
  restoreWith(key: string, redirection: string, ...options: string[]): Ended {
    const script = `exec criuctl restore -D "$0" --inherit-fd "fd[7]:$1" "\${@:2}" ${redirection}`;
    const [file, ...argv] = [...as('alice'), 'bash', '-c', script, this.images, key, ...options];
    const { status, stdout, stderr } = spawnSync(file!, argv, { encoding: 'utf8', timeout: commandMs });
    return { status, stdout, stderr };
  }

  end(): void {
    if (isAlive(this.pid)) endProcess(this.pid);
  }
}

async function grows(path: string): Promise<void> {
  const lines = (): number => (existsSync(path) ? readFileSync(path, 'utf8').split('\n').length : 0);
  const before = lines();
  await eventually(`${path} grows`, () => lines() > before + 3);
}

describe('a descriptor that alice puts in the place of a lost one', () => {
  const speakers: Speaker[] = [];
  const start = async (...how: Parameters<Speaker['start']>): Promise<Speaker> => {
    const started = new Speaker();
    speakers.push(started);
    return started.start(...how);
  };
  afterEach(() => {
    for (const each of speakers.splice(0)) each.end();
  });
  const piped = 'setsid "$@" | cat >/dev/null';

  it('may be a pipe: the restored program writes into it', async () => {
    const program = await start(piped, 'ignore');
    const key = program.stdout;
    assert.match(key, /^pipe:\[\d+\]$/);
    await program.dump();
    const out = join(directoryOf('alice'), 'out');
    must(program.restoreWith(key, `7> >(exec cat >${out} 2>/dev/null)`));
    await grows(out);
    assert.match(program.stdout, /^pipe:/);
    assert.notEqual(program.stdout, key);
  });

  it('may be a file in the place of a pipe', async () => {
    const program = await start(piped, 'ignore');
    const key = program.stdout;
    await program.dump();
    const out = join(directoryOf('alice'), 'out');
    must(program.restoreWith(key, `7>>${out}`));
    await grows(out);
    assert.equal(program.stdout, out);
  });

  it('may be a file in the place of one that was external to the dump', async () => {
    const before = join(directoryOf('alice'), 'before');
    const fd = openSync(before, 'a');
    chownSync(before, uids.alice, uids.alice);
    const program = await start('exec setsid "$@"', fd);
    closeSync(fd);
    const mount = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/${program.pid}/fdinfo/1`, 'latin1'))![1]!;
    const key = `file[${Number(mount).toString(16)}:${statSync(before).ino.toString(16)}]`;
    await program.dump('--external', key);
    const out = join(directoryOf('alice'), 'out');
    must(program.restoreWith(key, `7>>${out}`));
    await grows(out);
    assert.equal(program.stdout, out);
  });

  it('may be a socket in the place of one whose peer is gone', async () => {
    const program = await start('exec setsid "$@"', 'pipe');
    const key = program.stdout;
    const own = /^socket:\[(\d+)\]$/.exec(key)![1]!;
    const peer = readlinkSync(
      `/proc/self/fd/${(program.child!.stdout as Readable & { _handle: { fd: number } })._handle.fd}`,
    );
    const peersInode = /^socket:\[(\d+)\]$/.exec(peer)![1]!;
    await program.dump('--external', `unix[${own}]`, '--external', `unix[${peersInode}]`);
    const [file, ...argv] = [
      ...[...as('alice'), 'criuctl', 'restore', '-D', program.images],
      ...['--ext-unix-sk', '--inherit-fd', `fd[3]:${key}`],
    ];
    const child = spawn(file!, argv, { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
    let said = '';
    let complaint = '';
    (child.stdio[3] as Readable).on('data', (data: Buffer) => {
      said += data.toString();
    });
    child.stderr!.on('data', (data: Buffer) => {
      complaint += data.toString();
    });
    await eventually(
      'it writes into the socket, or criuctl fails',
      () => said.includes('\n') || child.exitCode !== null,
    );
    await eventually('it writes into the socket', () => said.includes('\n')).catch(() =>
      assert.fail(complaint),
    );
  });

  it('may be a file in the place of one that was named when CRIU asked for external files', async () => {
    const before = join(directoryOf('alice'), 'before');
    const fd = openSync(before, 'a');
    chownSync(before, uids.alice, uids.alice);
    const program = await start('exec setsid "$@"', fd);
    closeSync(fd);
    const mount = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/${program.pid}/fdinfo/1`, 'latin1'))![1]!;
    const key = `file[${Number(mount).toString(16)}:${statSync(before).ino.toString(16)}]`;
    mkdirSync(program.images);
    chownSync(program.images, uids.alice, uids.alice);
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, program.images);
    await alice.connect(ourAddress);
    const opts = { images_dir_fd: 10, pid: program.pid, notify_scripts: true };
    await alice.send({ type: ReqType.DUMP, opts });
    await waitFor(alice, 'query-ext-files');
    const answer = { notify_success: true, opts: { images_dir_fd: -1, external: [key] } };
    await alice.send({ type: ReqType.NOTIFY, ...answer });
    const reply = await waitForReply(alice);
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    await alice.end();
    await eventually('it has ended', () => isFree(program.pid));
    const out = join(directoryOf('alice'), 'out');
    must(program.restoreWith(key, `7>>${out}`));
    await grows(out);
    assert.equal(program.stdout, out);
  });

  it('is refused if it is a directory, and nothing is restored', async () => {
    const program = await start(piped, 'ignore');
    const key = program.stdout;
    await program.dump();
    failed(program.restoreWith(key, '7</'), 3, /inherit_fd 7 is not put into an engine: it is a directory/);
    assert.equal(isAlive(program.pid), false);
    must(program.restoreWith(key, '7>>/dev/null'));
  });
});
