/** Every failure of CRIU's that criuctl explains: its first line says why, and its advice works for this user. */
import assert from 'node:assert/strict';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  readFileSync,
  realpathSync,
  rmSync,
  truncateSync,
} from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { unshackled } from '../hostile/support/images.ts';
import { directoryOf, type User, uids } from '../hostile/support/people.ts';
import {
  attackIsImpossible,
  cannotShowHere,
  dumpsInternet,
  eventually,
  needsInternet,
  run,
  tracksMemory,
} from './support/bench.ts';
import { criuctlAs, type Ended, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { childrenOf, endProcess, isAlive, isFree, statusLine } from './support/proc.ts';
import { Program } from './support/program.ts';
import { atTerminal, Program as ProgramAtTerminal, type Step } from './support/session.ts';

const users: readonly User[] = ['root', 'alice'];

/** CAP_SYS_RESOURCE of capabilities(7). */
const resource = 1n << 24n;

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
    /descriptor \d+ \(anon anon_inode:\[userfaultfd\]\) is of a kind that CRIU cannot dump/,
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
  [
    'a socket of Multipath TCP',
    's = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)',
    [],
    /a socket is of Multipath TCP/,
    /GODEBUG=multipathtcp=0/,
  ],
  ['a socket of VSOCK', 's = socket.socket(40, socket.SOCK_STREAM)', [], /address family 40/, /without it/],
];

/** Python that listens. */
const server = 's = socket.create_server(("127.0.0.1", 0))';
// SO_REUSEADDR: the end that closes first keeps its port for a minute otherwise.
const connected = `${server}; c = socket.socket(); c.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); c.connect(s.getsockname()); a, _ = s.accept()`;
const unaccepted = `${server}; socket.create_connection(s.getsockname()).close()`;

/** Programs with sockets that some versions of CRIU cannot dump on newer kernels. */
const internet: readonly [what: string, code: string][] = [
  ['a TCP connection', connected],
  ['a TCP connection that is not accepted yet', unaccepted],
  ['a listening socket', server],
  ['a UDP socket', 's = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)'],
];

/** The program, the first line, the options of the advice, and those of the restore. DIR is the directory of the program. */
const cured: readonly [
  what: string,
  code: string,
  why: RegExp,
  options: string[],
  restore: string[],
  of?: readonly User[],
][] = [
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
  [
    'a watch',
    'open("watched", "w").close(); l = ctypes.CDLL(None); i = l.inotify_init(); assert l.inotify_add_watch(i, b"watched", 2) == 1',
    /has not found the path of a file that the program watches/,
    ['--force-irmap', '--irmap-scan-path', 'DIR'],
    [],
    // Root’s CRIU opens the file by its handle, where the file system lets it.
    ['alice'],
  ],
];

/** Other programs that do the same, as the advice names them. */
const others: readonly [what: string, code: string, of: readonly User[]][] = [
  [
    'a pidfd of a process that is dumped together with it',
    'p = os.fork()\nif p == 0:\n  while True: time.sleep(1)\nf = os.pidfd_open(p)',
    users,
  ],
  [
    'a Unix connection to a process that is dumped together with it',
    'a, b = socket.socketpair()\nif os.fork() == 0:\n  b.close()\n  while True: time.sleep(1)\na.close()',
    users,
  ],
  [
    'shared memory of shm_open(3) in place of System V memory',
    'import mmap; f = os.open("/dev/shm/advice", os.O_RDWR | os.O_CREAT, 0o600); os.ftruncate(f, 4096); m = mmap.mmap(f, 4096); os.unlink("/dev/shm/advice")',
    users,
  ],
  [
    'System V memory in an IPC namespace of its own',
    `${libc}; assert l.unshare(0x08000000) == 0; l.shmat.restype = ctypes.c_void_p; l.shmat(l.shmget(0, 4096, 0o1600), None, 0)`,
    ['root'],
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
  [
    'is shorter',
    (file) => truncateSync(file, 0),
    /\/file has 0 bytes, and had 2 bytes at the dump/,
    /not in the images: bring the file back/,
  ],
  ['is missing', (file) => rmSync(file), /\/file is missing/, /Put the file back/],
];

/** The first line is a sentence of the table, without a line of CRIU’s. */
function told(ended: Ended, why: RegExp, ...remedies: RegExp[]): void {
  failed(ended, 1, ...remedies);
  const [first] = ended.stderr.split('\n');
  assert.match(first!, /^criuctl: (DUMP|RESTORE) failed: (?!.*Error \()/);
  assert.match(first!, why);
}

/** Dumps the program with these options, and restores it. */
async function bringBack(user: User, program: Program, options: string[], restore: string[]): Promise<void> {
  const images = directoryOf(user);
  must(criuctlAs(user, 'dump', `${program.pid}`, '-D', images, ...options));
  await program.reaped();
  must(criuctlAs(user, 'restore', '-D', images, ...restore));
  await program.runsOn();
}

/** The dump of a process alone, which the look before it does not hold up. */
function forced(user: User, pid: number, ...options: string[]): Ended {
  return criuctlAs(user, 'dump', '--force', `${pid}`, '-D', directoryOf(user), ...options);
}

/** Python that is traced by its child, which has this name. */
function traced(name = 'python3'): string {
  const trace = `${libc}; l.prctl(15, b"${name}", 0, 0, 0); assert l.ptrace(0x4206, p, 0, 0) == 0`;
  return `p = os.getpid()\nif os.fork() == 0:\n  ${trace}\n  while True: time.sleep(1)`;
}

function endTracer(pid: number): void {
  const tracer = Number(statusLine(pid, 'TracerPid'));
  if (tracer > 0) endProcess(tracer);
}

/** The version of Landlock that knows abstract sockets. */
const scopes = 6;

function landlockVersion(): number {
  return Number(run('/usr/bin/python3', '-c', `import ctypes; ${libc}; print(l.syscall(444, None, 0, 1))`));
}

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
          told(ended, why, remedy);
          assert.doesNotMatch(ended.stderr, /Try it with/);
          await program.runsOn();
        } finally {
          program.end();
        }
      });
    }

    for (const [what, code, why, options, restore, of = users] of cured) {
      if (!of.includes(user)) continue;
      it(`give ${user} the option that brings the program back: ${what}`, async () => {
        const program = await Program.start(user, code);
        try {
          told(forced(user, program.pid), why, new RegExp(`Try it with ${options.join(' ')}`));
          await program.runsOn();
          const given = options.map((option) => (option === 'DIR' ? program.directory : option));
          await bringBack(user, program, given, restore);
        } finally {
          program.end();
        }
      });
    }

    for (const [what, code, of] of others) {
      if (!of.includes(user)) continue;
      it(`name to ${user} another program that comes back: ${what}`, async () => {
        const program = await Program.start(user, code);
        const children = childrenOf(program.pid);
        try {
          await bringBack(user, program, [], []);
        } finally {
          for (const child of children) endProcess(child);
          program.end();
        }
      });
    }

    for (const [what, code] of internet) {
      it(`say to ${user} that this CRIU is too old for this kernel, and name no option: ${what}`, async function () {
        if (dumpsInternet()) attackIsImpossible(this, 'this CRIU dumps TCP sockets on this kernel');
        const program = await Program.start(user, code);
        try {
          const ended = forced(user, program.pid);
          told(ended, /cannot dump TCP and UDP sockets on this kernel/, /Install CRIU 4\.2\.1 or newer/);
          assert.doesNotMatch(ended.stderr, /Try it with/);
          await program.runsOn();
        } finally {
          program.end();
        }
      });
    }

    it(`give ${user} the option that brings a program back with its TCP connection closed`, async function () {
      needsInternet(this);
      const program = await Program.start(user, connected);
      try {
        told(
          forced(user, program.pid),
          /the program has a TCP connection$/,
          user === 'root' ? /or with --tcp-close at both/ : /Try it with --tcp-close, at the dump and at the/,
        );
        await program.runsOn();
        await bringBack(user, program, ['--tcp-close'], ['--tcp-close']);
      } finally {
        program.end();
      }
    });

    it(`give ${user} the option that leaves out a TCP connection that is not accepted yet`, async function () {
      needsInternet(this);
      const program = await Program.start(user, unaccepted);
      try {
        told(forced(user, program.pid), /has not accepted yet$/, /Try it with --skip-in-flight/);
        const looked = criuctlAs(user, 'dump', `${program.pid}`, '-D', directoryOf(user));
        failed(looked, 3, /Try it with --skip-in-flight:$/m);
        await program.runsOn();
        await bringBack(user, program, ['--skip-in-flight'], []);
      } finally {
        program.end();
      }
    });

    it(`give ${user} the option that brings a program back with a TCP connection that is not established yet`, async function () {
      needsInternet(this);
      // No more connections to this server are established.
      const full = await Program.start(
        user,
        's = socket.create_server(("127.0.0.1", 0), backlog=0); c = [socket.socket() for _ in range(4)]\nfor each in c:\n  each.setblocking(False); each.connect_ex(s.getsockname())\nopen("port", "w").write(str(s.getsockname()[1]))',
      );
      const port = readFileSync(join(full.directory, 'port'), 'utf8');
      const program = await Program.start(
        user,
        `s = socket.socket(); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 100); s.setblocking(False); s.connect_ex(("127.0.0.1", ${port}))`,
      );
      try {
        const option = user === 'root' ? '--tcp-established' : '--tcp-close';
        const looked = criuctlAs(user, 'dump', `${program.pid}`, '-D', directoryOf(user));
        failed(
          looked,
          3,
          new RegExp(`Try it with ${option}:$`, 'm'),
          new RegExp(`restore it with ${option}$`, 'm'),
        );
        told(
          forced(user, program.pid),
          /the program has a TCP connection$/,
          new RegExp(`Try it with ${option}, `),
        );
        await program.runsOn();
        await bringBack(user, program, [option], [option]);
      } finally {
        program.end();
        full.end();
      }
    });

    it(`say to ${user} that no option helps a datagram socket whose other end has no name`, async () => {
      const program = await Program.start(
        user,
        'a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\nif os.fork() > 0:\n  os.wait()\na.close(); os.setsid()',
      );
      const [child] = childrenOf(program.pid);
      try {
        const ended = forced(user, child!, '--ext-unix-sk');
        told(
          ended,
          /connected to a socket without a name outside of the tree/,
          /Start the program without it/,
        );
        assert.doesNotMatch(ended.stderr, /Try it with/);
        await program.runsOn();
      } finally {
        endProcess(child!);
        program.end();
      }
    });

    it(`give ${user} the option that brings back a process of a session outside of the tree`, async () => {
      // The leader is the program, which waits for its child.
      const program = await Program.start(
        user,
        'if os.fork() > 0:\n  os.wait()\n  while True: time.sleep(1)',
      );
      const [child] = childrenOf(program.pid);
      try {
        const ask = [user, child!] as const;
        told(
          forced(...ask),
          /belongs to the session of a process that is not in the tree/,
          /--shell-job, at the/,
        );
        await program.runsOn();
        const images = directoryOf(user);
        must(criuctlAs(user, 'dump', '--force', `${child}`, '-D', images, '--shell-job'));
        await eventually('its pid is free', () => isFree(child!));
        must(criuctlAs(user, 'restore', '-D', images, '--shell-job'));
        await program.runsOn();
      } finally {
        endProcess(child!);
        program.end();
      }
    });

    const atTerminals: readonly [what: string, name: string, keys: string, end: (pid: number) => Step[]][] = [
      [
        'the leader of its session',
        'bash',
        '',
        (pid) => [
          ['type', 'exit\n'],
          ['expect', `Process ${pid} ended`],
        ],
      ],
      ['a job of a shell', 'sleep', 'sleep 1000\n', (pid) => [['press', '\x03', `Process ${pid} `]]],
    ];
    for (const [what, name, keys, end] of atTerminals) {
      it(`give ${user} the option that brings a program back at a terminal: ${what}`, async () => {
        const options = user === 'root' ? [] : unshackled();
        const program = await ProgramAtTerminal.start(user, options, 'bash --norc -i', name, keys);
        const images = directoryOf(user);
        try {
          told(
            forced(user, program.pid),
            /a terminal of the program has its other end outside/,
            /Try it with --shell-job, and restore it at a terminal/,
          );
          assert.match(statusLine(program.pid, 'State')!, /^S/);
          must(criuctlAs(user, 'dump', '--force', `${program.pid}`, '--shell-job', '-D', images));
          await eventually('its pid is free', () => isFree(program.pid));
        } finally {
          program.end();
        }
        const steps: Step[] = [['expect', `Process ${program.pid} runs again`], ...end(program.pid)];
        const seen = atTerminal(user, steps, 'criuctl', 'restore', '-D', images);
        assert.equal(seen.missed, undefined, seen.screen);
      });
    }

    it(`say to ${user} that a process is in a sandbox (Landlock), and it runs on`, async function () {
      if (landlockVersion() < scopes)
        cannotShowHere(this, 'this kernel has no Landlock that keeps abstract sockets away');
      const rules = 'import struct; r = l.syscall(444, struct.pack("QQQ", 0, 0, 1), 24, 0)';
      const enter = 'assert l.prctl(38, 1, 0, 0, 0) == 0 and l.syscall(446, r, 0) == 0; os.close(r)';
      const program = await Program.start(user, `${libc}; ${rules}; ${enter}`);
      try {
        told(
          forced(user, program.pid),
          /has entered a sandbox \(Landlock\)/,
          /when that part of the work is done/,
        );
        await program.runsOn();
      } finally {
        program.end();
      }
    });

    for (const [what, spoil, why, remedy] of restores) {
      it(`say to ${user} which file a restore lacks: a file ${what}`, async () => {
        const program = await Program.start(user, 'f = open("file", "w"); f.write("xx"); f.flush()');
        try {
          const images = directoryOf(user);
          must(criuctlAs(user, 'dump', `${program.pid}`, '-D', images));
          await program.reaped();
          spoil(join(program.directory, 'file'));
          told(criuctlAs(user, 'restore', '-D', images), why, remedy);
        } finally {
          program.end();
        }
      });
    }

    it(`give ${user} the option that restores a program though the mode of its file has changed`, async () => {
      const program = await Program.start(user, 'f = open("file", "w"); os.fchmod(f.fileno(), 0o640)');
      try {
        const images = directoryOf(user);
        must(criuctlAs(user, 'dump', `${program.pid}`, '-D', images));
        await program.reaped();
        const file = join(program.directory, 'file');
        chmodSync(file, 0o666);
        told(
          criuctlAs(user, 'restore', '-D', images),
          /\/file has the mode 666, and had 640 at the dump/,
          /Try it with --skip-file-rwx-check/,
          new RegExp(`Or as its owner: chmod 640 ${file}$`, 'm'),
        );
        must(criuctlAs(user, 'restore', '-D', images, '--skip-file-rwx-check'));
        await program.runsOn();
      } finally {
        program.end();
      }
    });

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
      const program = await Program.start(user, traced());
      try {
        await eventually('it is traced', () => statusLine(program.pid, 'TracerPid') !== '0');
        const ask = ['dump', '--leave-running', `${program.pid}`, '-D', directoryOf(user)];
        told(criuctlAs(user, ...ask), /python3 \(process \d+\) traces/, /End process/);
        await program.runsOn();
        endTracer(program.pid);
        await eventually('it is free', () => statusLine(program.pid, 'TracerPid') === '0');
        must(criuctlAs(user, ...ask));
      } finally {
        // A zombie stays traced until its tracer has ended.
        endTracer(program.pid);
        program.end();
      }
    });
  }

  it('say to alice which file she may not open, and its owner or root helps her', async () => {
    const program = await Program.start('alice', 'f = open("file", "w")');
    try {
      const images = directoryOf('alice');
      must(criuctlAs('alice', 'dump', `${program.pid}`, '-D', images));
      await program.reaped();
      const file = join(program.directory, 'file');
      chownSync(file, uids.root, uids.root);
      const denied = criuctlAs('alice', 'restore', '-D', images);
      told(
        denied,
        /you may not open \S+\/file, /,
        /Ask its owner .* --skip-file-rwx-check/,
        /--trust-images/,
      );
      must(criuctlAs('root', 'restore', '-D', images, '--trust-images'));
      await program.runsOn();
      program.end();
      await eventually('its pid is free', () => isFree(program.pid));
      chmodSync(file, 0o666);
      must(criuctlAs('alice', 'restore', '-D', images, '--skip-file-rwx-check'));
      await program.runsOn();
    } finally {
      program.end();
    }
  });

  it('do not take an engine that lets go of the process a moment later for a tracer in the way', async () => {
    const program = await Program.start('alice', traced('criu'));
    try {
      await eventually('it is traced', () => statusLine(program.pid, 'TracerPid') !== '0');
      const ended = forced('alice', program.pid);
      failed(ended, 1);
      assert.doesNotMatch(ended.stderr, /traces process|End process/);
      await program.runsOn();
    } finally {
      endTracer(program.pid);
      program.end();
    }
  });

  it('do not take a file that an option names for one of the program', async () => {
    const program = await Program.start('root', '');
    try {
      const ask = ['--manage-cgroups', '--cgroup-props-file', '/nowhere'];
      const ended = forced('root', program.pid, ...ask);
      failed(ended, 1, /Can't open file \/nowhere: No such file or directory/);
      assert.doesNotMatch(ended.stderr, /had open|Put the file back/);
      await program.runsOn();
    } finally {
      program.end();
    }
  });

  it('say to root that it lacks the capability to dump a process of alice’s, and she dumps it', async function () {
    const bounding = BigInt(`0x${statusLine(process.pid, 'CapBnd')}`);
    if ((bounding & resource) !== 0n) attackIsImpossible(this, 'root has CAP_SYS_RESOURCE here');
    const program = await Program.start('alice', '');
    try {
      told(
        forced('root', program.pid),
        /root has no CAP_SYS_RESOURCE on this machine/,
        /Dump it as that user/,
      );
      await program.runsOn();
      await bringBack('alice', program, [], []);
    } finally {
      program.end();
    }
  });

  it('give root the option that brings back a TCP connection while its peer waits', async function () {
    needsInternet(this);
    const peer = createServer();
    const connection = new Promise<Socket>((resolve) => peer.once('connection', resolve));
    await new Promise<void>((resolve) => peer.listen(0, '127.0.0.1', resolve));
    const { port } = peer.address() as AddressInfo;
    const answer = 'threading.Thread(target=lambda: [s.send(s.recv(9)) for _ in iter(int, 1)]).start()';
    const code = `import threading; s = socket.create_connection(("127.0.0.1", ${port})); ${answer}`;
    const program = await Program.start('root', code);
    const socket = await connection;
    try {
      const sentence = /Try it with --tcp-established, at the dump and at the restore, while the peer waits/;
      told(forced('root', program.pid), /the program has a TCP connection$/, sentence);
      await program.runsOn();
      await bringBack('root', program, ['--tcp-established'], ['--tcp-established']);
      let heard = '';
      socket.on('data', (data) => {
        heard += data;
      });
      socket.write('x');
      await eventually('the restored program answers', () => heard === 'x');
    } finally {
      program.end();
      socket.destroy();
      peer.close();
    }
  });

  it('give root another way to hold up a TCP connection where iptables does not work', async function () {
    needsInternet(this);
    const iptables = realpathSync('/usr/sbin/iptables');
    const program = await Program.start('root', connected);
    run('mount', '--bind', '/usr/bin/false', iptables);
    try {
      // CRIU may be built with another default.
      const ended = forced('root', program.pid, '--tcp-established', '--network-lock', 'iptables');
      told(
        ended,
        /CRIU cannot hold up the TCP connection with iptables/,
        /Try it with --network-lock nftables/,
      );
      await program.runsOn();
      const options = ['--tcp-established', '--network-lock', 'nftables'];
      await bringBack('root', program, options, ['--tcp-established']);
    } finally {
      run('umount', iptables);
      program.end();
    }
  });

  it('give alice the option that brings her program back, if she has asked for one that takes root', async function () {
    needsInternet(this);
    const program = await Program.start('alice', connected);
    try {
      const ended = forced('alice', program.pid, '--tcp-established');
      told(
        ended,
        /only root can bring a TCP connection back/,
        /Try it with --tcp-close in place of --tcp-est/,
      );
      await program.runsOn();
      await bringBack('alice', program, ['--tcp-close'], ['--tcp-close']);
    } finally {
      program.end();
    }
  });
});
