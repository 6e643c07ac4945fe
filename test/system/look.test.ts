/** criuctl look, and the look before a dump: what would not come back is not ended. */
import assert from 'node:assert/strict';
import type { StdioOptions } from 'node:child_process';
import { chmodSync, closeSync, openSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { directoryOf, type User } from '../hostile/support/people.ts';
import { freshDirectory } from './support/bench.ts';
import { criuctlAs, type Ended, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { isAlive } from './support/proc.ts';
import { Program } from './support/program.ts';

const users = ['root', 'alice'] as const;

interface Told {
  readonly verdict: string;
  readonly options: readonly string[];
  readonly findings: readonly { readonly thing: string; readonly verdict: string; readonly why?: string }[];
}

function look(user: User, pid: number, status: number): Told {
  const ended = criuctlAs(user, 'look', `${pid}`, '--json');
  assert.equal(ended.status, status, JSON.stringify(ended));
  return JSON.parse(ended.stdout);
}

/** Nothing is in root's way, except that a container's root may lack a capability. */
function assertRootMay(pid: number): void {
  const { findings }: Told = JSON.parse(criuctlAs('root', 'look', `${pid}`, '--json').stdout);
  const others = findings.filter(({ why }) => why !== undefined && !/CAP_SYS_RESOURCE/.test(why));
  assert.deepEqual(others, []);
}

function dump(user: User, pid: number, images: string, ...options: string[]): Ended {
  return criuctlAs(user, 'dump', `${pid}`, '-D', images, ...options);
}

/** What the program does, and the reason in the refusal. */
const fatal: readonly [what: string, code: string, reason: RegExp, stdio?: StdioOptions][] = [
  [
    'its output is a socket of the program that has started it',
    '',
    /descriptor 1 .* is connected to no name, of .*, and no restore can connect it again/,
    ['ignore', 'pipe', 'ignore'],
  ],
  ['it has an io_uring', 'ctypes.CDLL(None).syscall(425, 4, ctypes.create_string_buffer(120))', /io_uring/],
  [
    'it is connected to D-Bus',
    's = socket.socket(socket.AF_UNIX); s.connect("/run/dbus/system_bus_socket")',
    /\/run\/dbus\/system_bus_socket/,
  ],
  [
    'it uses System V memory',
    'l = ctypes.CDLL(None); l.shmat.restype = ctypes.c_void_p; l.shmat(l.shmget(0, 4096, 0o1600), None, 0)',
    /System V shared memory/,
  ],
  ['it watches a process outside of its tree', 'f = os.pidfd_open(1)', /process 1 outside/],
];

/** What the program does, the options that it needs, and those of its restore. */
const needing: readonly [what: string, code: string, options: string[], restore: string[]][] = [
  [
    'it holds a file lock',
    'f = open("lock", "w"); fcntl.flock(f, fcntl.LOCK_EX)',
    ['--file-locks'],
    ['--file-locks'],
  ],
  [
    'it uses a large deleted file',
    'f = open("large", "wb"); f.write(bytes(3 << 20)); f.flush(); os.unlink("large")',
    ['--ghost-limit', '3M'],
    [],
  ],
  [
    'a name of its file was removed',
    'f = open("one", "w"); os.link("one", "other"); os.unlink("one")',
    ['--link-remap'],
    [],
  ],
  ['it writes to syslog(3)', 'syslog.syslog("hello")', ['--ext-unix-sk'], ['--ext-unix-sk']],
];

describe('a look at a program', () => {
  for (const user of users) {
    it(`finds nothing in the way of a plain program, and ${user} dumps and restores it`, async () => {
      const program = await Program.start(user, 'f = open("file", "a")');
      try {
        assert.equal(look(user, program.pid, 0).verdict, 'comes-back');
        const images = directoryOf(user);
        must(dump(user, program.pid, images));
        await program.reaped();
        must(criuctlAs(user, 'restore', '-D', images));
        assert.ok(isAlive(program.pid));
      } finally {
        program.end();
      }
    });

    for (const [what, code, reason, stdio] of fatal) {
      it(`refuses ${user} a dump that would lose a program: ${what}`, async () => {
        const program = await Program.start(user, code, stdio);
        try {
          const told = look(user, program.pid, 3);
          assert.equal(told.verdict, 'does-not-come-back');
          assert.equal(told.findings[0]?.verdict, 'does-not-come-back');
          failed(dump(user, program.pid, directoryOf(user)), 3, reason, /It runs on as before.*--force/);
          assert.ok(isAlive(program.pid));
        } finally {
          program.end();
        }
      });
    }

    for (const [what, code, options, restore] of needing) {
      it(`tells ${user} the options that bring a program back: ${what}`, async () => {
        const program = await Program.start(user, code);
        try {
          assert.deepEqual(look(user, program.pid, 0).options, [options.join(' ')]);
          const images = directoryOf(user);
          failed(
            dump(user, program.pid, images),
            3,
            new RegExp(`^ {2}criuctl dump ${program.pid} -D ${images} ${options.join(' ')}$`, 'm'),
          );
          assert.ok(isAlive(program.pid));
          must(dump(user, program.pid, images, ...options));
          await program.reaped();
          must(criuctlAs(user, 'restore', '-D', images, ...restore));
          assert.ok(isAlive(program.pid));
        } finally {
          program.end();
        }
      });
    }
  }

  it('keeps a program of alice’s whose file only root could create again, and lets root dump and restore it', async () => {
    const replaced = join(freshDirectory(), 'replaced');
    chmodSync(join(replaced, '..'), 0o755);
    writeFileSync(replaced, 'old');
    const program = await Program.start('alice', `f = open("${replaced}")`);
    try {
      unlinkSync(replaced);
      failed(dump('alice', program.pid, directoryOf('alice')), 3, /was deleted or replaced/, /ask as root/);
      assert.ok(isAlive(program.pid));
      assertRootMay(program.pid);
    } finally {
      program.end();
    }
  });

  const lost = [
    ['was removed', 'os.unlink("s")', /its file .*s was removed or renamed/],
    ['was renamed', 'os.rename("s", "t")', /its file .*s was removed or renamed/],
  ] as const;
  for (const [loss, code, why] of lost) {
    it(`keeps a program of alice’s with a listening socket whose file ${loss}, and root dumps and restores such a program`, async () => {
      const listen = `s = socket.socket(socket.AF_UNIX); s.bind(os.getcwd() + "/s"); s.listen(); ${code}`;
      const program = await Program.start('alice', listen);
      const roots = await Program.start('root', listen);
      try {
        failed(dump('alice', program.pid, directoryOf('alice')), 3, why, /ask as root/);
        assert.ok(isAlive(program.pid));
        const images = directoryOf('root');
        must(dump('root', roots.pid, images));
        await roots.reaped();
        must(criuctlAs('root', 'restore', '-D', images));
        assert.ok(isAlive(roots.pid));
      } finally {
        program.end();
        roots.end();
      }
    });
  }

  for (const [where, renamed] of [
    ['', 'os.rename("s", "t")'],
    [' to another directory', 'os.mkdir("d"); os.rename("s", "d/s")'],
  ] as const)
    it(`refuses root a dump that would lose a program: the file of its socket was renamed${where}, and another has its name`, async () => {
      const program = await Program.start(
        'root',
        `s = socket.socket(socket.AF_UNIX); s.bind(os.getcwd() + "/s"); s.listen(); ${renamed}; open("s", "w").close()`,
      );
      try {
        failed(
          dump('root', program.pid, directoryOf('root')),
          3,
          /its file was renamed, and another one has its name/,
        );
        assert.ok(isAlive(program.pid));
      } finally {
        program.end();
      }
    });

  it('brings a program of root’s back that maps a file with another name, and keeps such a program of alice’s', async () => {
    const mapping =
      'f = open("one", "wb+"); f.write(b"x"); f.flush(); m = mmap.mmap(f.fileno(), 1); os.link("one", "other"); os.unlink("one"); f.close()';
    const program = await Program.start('alice', mapping);
    const roots = await Program.start('root', mapping);
    try {
      failed(
        dump('alice', program.pid, directoryOf('alice')),
        3,
        /it is mapped, has lost this name/,
        /Ask as root/,
      );
      assert.ok(isAlive(program.pid));
      assert.deepEqual(look('root', roots.pid, 0).options, ['--link-remap']);
      const images = directoryOf('root');
      must(dump('root', roots.pid, images, '--link-remap'));
      await roots.reaped();
      must(criuctlAs('root', 'restore', '-D', images));
      assert.ok(isAlive(roots.pid));
    } finally {
      program.end();
      roots.end();
    }
  });

  it('keeps a program of alice’s whose output root has opened, and lets root dump it', async () => {
    const log = openSync(join(freshDirectory(), 'log'), 'a', 0o600);
    const program = await Program.start('alice', '', ['ignore', log, log]);
    closeSync(log);
    try {
      const why = [/descriptor 1, 2 .*you may not open it by its name to write it/, /ask as root/];
      failed(dump('alice', program.pid, directoryOf('alice')), 3, ...why);
      assert.ok(isAlive(program.pid));
      assertRootMay(program.pid);
    } finally {
      program.end();
    }
  });

  it('takes a pipe that no other process has for what it is, though alice may not look at every process', async () => {
    const program = await Program.start('alice', 'r, w = os.pipe(); os.close(w)');
    try {
      assert.equal(look('alice', program.pid, 0).verdict, 'comes-back');
      const images = directoryOf('alice');
      must(dump('alice', program.pid, images));
      await program.reaped();
      must(criuctlAs('alice', 'restore', '-D', images));
      assert.ok(isAlive(program.pid));
    } finally {
      program.end();
    }
  });

  it('says whose another user’s process is', async () => {
    const program = await Program.start('root', '');
    try {
      assert.match(look('alice', program.pid, 3).findings[0]?.why ?? '', /belongs to root/);
    } finally {
      program.end();
    }
  });

  it('--force leaves the decision to CRIU', async () => {
    const program = await Program.start('root', '', ['ignore', 'pipe', 'ignore']);
    try {
      failed(dump('root', program.pid, directoryOf('root'), '--force'), 1, /External socket is used/);
    } finally {
      program.end();
    }
  });
});
