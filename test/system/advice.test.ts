/** Every failure of CRIU's that criuctl explains: its first line says why, and its advice works for this user. */
import assert from 'node:assert/strict';
import { appendFileSync, chmodSync, chownSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { directoryOf, type User, uids } from '../hostile/support/people.ts';
import { attackIsImpossible, eventually, tracksMemory } from './support/bench.ts';
import { criuctlAs, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { endProcess, isAlive, statusLine } from './support/proc.ts';
import { Program } from './support/program.ts';

const users: readonly User[] = ['root', 'alice'];

const bus = 's = socket.socket(socket.AF_UNIX); s.connect("/run/dbus/system_bus_socket")';
const libc = 'l = ctypes.CDLL(None)';

/** The program, options of a dump that lets it run on, the first line, and the advice. */
const dumps: readonly [what: string, code: string, options: string[], why: RegExp, remedy: RegExp][] = [
  [
    'an io_uring',
    `${libc}; l.syscall(425, 4, ctypes.create_string_buffer(120))`,
    [],
    /no other process can be given, as an io_uring is/,
    /io_uring_disabled=2/,
  ],
  [
    'a userfaultfd',
    `${libc}; l.syscall(323, 1)`,
    [],
    /descriptor 3 \(anon anon_inode:\[userfaultfd\]\) is of a kind that CRIU cannot dump/,
    /without it/,
  ],
  [
    'System V memory',
    `${libc}; l.shmat.restype = ctypes.c_void_p; l.shmat(l.shmget(0, 4096, 0o1600), None, 0)`,
    [],
    /process \d+ has System V shared memory/,
    /shm_open/,
  ],
  ['a connection to the bus', bus, [], /a Unix socket is connected to a program outside/, /No restore can/],
  [
    'a connection to the bus, which --ext-unix-sk does not help',
    bus,
    ['--ext-unix-sk'],
    /a Unix stream socket is connected .* no restore can connect it again/,
    /output in a file/,
  ],
  ['a pidfd of a stranger', 'f = os.pidfd_open(1)', [], /a pidfd refers to process 1,/, /together with/],
  ['a socket of VSOCK', 's = socket.socket(40, socket.SOCK_STREAM)', [], /address family 40/, /without it/],
];

/** The program, the first line, the options of the advice, and those of the restore. */
const cured: readonly [what: string, code: string, why: RegExp, options: string[], restore: string[]][] = [
  [
    'a file lock',
    'f = open("lock", "w"); fcntl.flock(f, fcntl.LOCK_EX)',
    /the program holds file locks/,
    ['--file-locks'],
    ['--file-locks'],
  ],
  [
    'a large deleted file',
    'f = open("large", "wb"); f.write(bytes(3 << 20)); f.flush(); os.unlink("large")',
    /the deleted file \S+\/large has 3145728 bytes/,
    ['--ghost-limit', '3M'],
    [],
  ],
  [
    'a file that has lost its name',
    'f = open("one", "w"); os.link("one", "other"); os.unlink("one")',
    /the file \S+\/one has lost this name/,
    ['--link-remap'],
    [],
  ],
];

/** The change of the file after the dump, the first line of the restore, and the advice. */
const restores: readonly [what: string, spoil: (file: string) => void, why: RegExp, remedy: RegExp][] = [
  [
    'has grown',
    (file) => appendFileSync(file, 'more'),
    /\/file has 6 bytes, and had 2 bytes at the dump/,
    /--restore-files: what came after is kept beside it/,
  ],
  ['is missing', (file) => rmSync(file), /\/file is missing/, /Put the file back/],
];

describe('the words of criuctl for a failure', () => {
  for (const user of users) {
    for (const [what, code, options, why, remedy] of dumps) {
      it(`say to ${user} what is in the way of a dump: ${what}`, async () => {
        const program = await Program.start(user, code);
        try {
          const ended = criuctlAs(
            user,
            ...['dump', '--leave-running', `${program.pid}`, '-D', directoryOf(user), ...options],
          );
          failed(ended, 1, remedy);
          const [first] = ended.stderr.split('\n');
          assert.match(first!, /^criuctl: DUMP failed: /);
          assert.match(first!, why);
          assert.doesNotMatch(ended.stderr, /Try it with/);
          assert.ok(isAlive(program.pid));
        } finally {
          program.end();
        }
      });
    }

    for (const [what, code, why, options, restore] of cured) {
      it(`give ${user} the option that brings the program back: ${what}`, async () => {
        const program = await Program.start(user, code);
        try {
          const ask = ['dump', '--force', `${program.pid}`, '-D'];
          const ended = criuctlAs(user, ...ask, directoryOf(user));
          failed(ended, 1, new RegExp(`Try it with ${options.join(' ')}`));
          assert.match(ended.stderr.split('\n')[0]!, why);
          const images = directoryOf(user);
          must(criuctlAs(user, ...ask, images, ...options));
          await program.reaped();
          must(criuctlAs(user, 'restore', '-D', images, ...restore));
          assert.ok(isAlive(program.pid));
        } finally {
          program.end();
        }
      });
    }

    for (const [what, spoil, why, remedy] of restores) {
      it(`say to ${user} which file a restore lacks: a file ${what}`, async () => {
        const program = await Program.start(user, 'f = open("file", "w"); f.write("xx"); f.flush()');
        try {
          const images = directoryOf(user);
          must(criuctlAs(user, 'dump', `${program.pid}`, '-D', images));
          await program.reaped();
          spoil(join(program.directory, 'file'));
          const ended = criuctlAs(user, 'restore', '-D', images);
          failed(ended, 1, remedy);
          assert.match(ended.stderr.split('\n')[0]!, why);
        } finally {
          program.end();
        }
      });
    }

    it(`say to ${user} that the kernel does not track memory, before a dump that asks for it ends anything`, async function () {
      if (tracksMemory()) attackIsImpossible(this, 'this kernel tracks memory');
      const program = await Program.start(user, '');
      try {
        const ended = criuctlAs(user, 'dump', `${program.pid}`, '-D', directoryOf(user), '--track-mem');
        if (user === 'root') failed(ended, 1, /cannot track changed memory/, /Leave --track-mem out/);
        else failed(ended, 3, /^criuctl: DUMP refused: this kernel does not track the memory of processes/);
        assert.equal(isAlive(program.pid), true);
      } finally {
        program.end();
      }
    });

    it(`name the tracer of a process to ${user}`, async () => {
      const program = await Program.start(
        user,
        `p = os.getpid()\nif os.fork() == 0:\n  ${libc}; assert l.ptrace(0x4206, p, 0, 0) == 0\n  while True: time.sleep(1)`,
      );
      try {
        await eventually('it is traced', () => statusLine(program.pid, 'TracerPid') !== '0');
        const ask = ['dump', '--leave-running', `${program.pid}`, '-D', directoryOf(user)];
        failed(
          criuctlAs(user, ...ask),
          1,
          /^criuctl: DUMP failed: python3 \(process \d+\) traces/,
          /End process/,
        );
      } finally {
        // A zombie stays traced until its tracer has ended.
        const tracer = Number(statusLine(program.pid, 'TracerPid'));
        if (tracer > 0) endProcess(tracer);
        program.end();
      }
    });
  }

  it('say to alice which file she may not open', async () => {
    const program = await Program.start('alice', 'f = open("file", "w")');
    try {
      const images = directoryOf('alice');
      must(criuctlAs('alice', 'dump', `${program.pid}`, '-D', images));
      await program.reaped();
      const file = join(program.directory, 'file');
      chownSync(file, uids.root, uids.root);
      chmodSync(file, 0o600);
      const ended = criuctlAs('alice', 'restore', '-D', images);
      failed(ended, 1, /^criuctl: RESTORE failed: you may not open \S+\/file, /, /Ask its owner/);
    } finally {
      program.end();
    }
  });
});
