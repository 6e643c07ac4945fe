import { strict as assert } from 'node:assert';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { native, type OwnedFd } from '../../src/native/binding.ts';
import {
  countFds,
  exitOf,
  noMoreFdsThan,
  openNull,
  requireArgumentError,
  requireNativeError,
  requireNoLeak,
  withDirectory,
} from './support.ts';

const child = fileURLToPath(new URL('./fixtures/systemd-child.ts', import.meta.url));
const root = fileURLToPath(new URL('../..', import.meta.url));

/** Arguments to start a program here; LD_PRELOAD if the addon was built with a sanitizer. */
const inherited = ['PATH', 'LD_PRELOAD', 'ASAN_OPTIONS'].flatMap((name) =>
  process.env[name] === undefined ? [] : [`${name}=${process.env[name]}`],
);

/** Starts a process with descriptors from 3 on, and systemd's variables for them; returns its output. */
async function listenFdsWith(fds: OwnedFd[], variables: string[]): Promise<unknown> {
  const output = native.memfd('output', 65536);
  const script = 'export LISTEN_PID=$MEANT_FOR; test -n "$MEANT_FOR" || LISTEN_PID=$$; exec "$@"';
  const started = native.spawn({
    file: '/bin/sh',
    argv: ['sh', '-c', script, 'sh', process.execPath, '--import=tsx', child, 'listen-fds'],
    env: [...inherited, ...variables],
    cwd: root,
    fds: [
      ...fds.map((source, index) => ({ source, target: 3 + index })),
      { source: output, target: 1 },
      { source: output, target: 2 },
    ],
  });
  const status = await exitOf(started);
  const text = readFileSync(`/proc/self/fd/${output.number}`, 'utf8').replace(/\0+$/, '');
  assert.deepEqual(status, { kind: 'exited', code: 0 }, text);
  output.close();
  started.close();
  return JSON.parse(text);
}

describe('listenFds', () => {
  it('takes over the descriptors with their names, once, and removes the variables', async () => {
    const { listener, memory } = withDirectory((directory) => ({
      listener: native.listen(join(directory, 'socket'), 0o666, 1).release(),
      memory: native.memfd('state', 1),
    }));
    assert.deepEqual(
      await listenFdsWith([listener, memory], ['LISTEN_FDS=2', 'LISTEN_FDNAMES=criu.socket:s0042.m']),
      {
        listed: [
          { number: 3, name: 'criu.socket', socket: { family: 1, type: 5, listening: true } },
          { number: 4, name: 's0042.m', socket: null },
        ],
        again: 0,
        left: [],
      },
    );
    listener.close();
    memory.close();
  });

  it('ignores descriptors meant for another process', async () => {
    const fd = openNull();
    assert.deepEqual(await listenFdsWith([fd], ['LISTEN_FDS=1', 'MEANT_FOR=1']), {
      listed: [],
      again: 0,
      left: [],
    });
    fd.close();
  });

  it('is empty without systemd', () => {
    assert.deepEqual(native.listenFds(), []);
  });
});

describe('notify', () => {
  let receiver: ChildProcess | undefined;
  afterEach(() => {
    delete process.env.NOTIFY_SOCKET;
    receiver?.kill();
    receiver = undefined;
  });

  it('is false without NOTIFY_SOCKET', async () => {
    assert.equal(native.notifyNow('READY=1'), false);
    assert.equal(await native.notifyElsewhere('READY=1'), false);
  });

  it('sends the text unchanged, with copies of the descriptors', async () => {
    // A datagram socket, which Node cannot make.
    const script = `
import array, os, socket, sys
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
print("bound", flush=True)
for _ in range(2):
    data, ancillary, _, _ = receiver.recvmsg(4096, 4096)
    fds = array.array("i", b"".join(item[2][:len(item[2]) & ~3] for item in ancillary if item[1] == socket.SCM_RIGHTS))
    print(data.decode().replace("\\n", "|"), *[os.readlink("/proc/self/fd/%d" % fd) for fd in fds], flush=True)
`;
    const { path, remove } = keepDirectory();
    receiver = spawn('python3', ['-c', script, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    const lines = linesOf(receiver);
    assert.equal(await lines.next(), 'bound');
    process.env.NOTIFY_SOCKET = path;
    assert.equal(native.notifyNow('STATUS=100% of %s\nREADY=1'), true);
    assert.equal(await lines.next(), 'STATUS=100% of %s|READY=1');
    const memory = native.memfd('stored', 1);
    requireNoLeak(() => native.notifyNow('FDSTORE=1\nFDNAME=s0042.m', [memory]), 1);
    assert.equal(await lines.next(), 'FDSTORE=1|FDNAME=s0042.m /memfd:stored (deleted)');
    memory.close();
    remove();
  });

  it('fails if the socket has no reader, and leaves no descriptor', async () => {
    process.env.NOTIFY_SOCKET = '/nonexistent/notify';
    requireNoLeak(() => assert.equal(native.notifyNow('READY=1'), false));
    const fd = openNull();
    const before = countFds();
    await assert.rejects(native.notifyElsewhere('READY=1', [fd]), { code: 'ENOENT' });
    await noMoreFdsThan(before);
    fd.close();
  });

  it('waits for a full queue on another thread, and keeps the order', async () => {
    const script = `
import array, os, socket, sys
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
print("bound", flush=True)
while sys.stdin.readline():
    data, ancillary, _, _ = receiver.recvmsg(4096, 4096)
    fds = array.array("i", b"".join(item[2][:len(item[2]) & ~3] for item in ancillary if item[1] == socket.SCM_RIGHTS))
    print(data.decode(), *[os.readlink("/proc/self/fd/%d" % fd) for fd in fds], flush=True)
`;
    const { path, remove } = keepDirectory();
    receiver = spawn('python3', ['-c', script, path], { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = linesOf(receiver);
    assert.equal(await lines.next(), 'bound');
    process.env.NOTIFY_SOCKET = path;
    let room = 0;
    while (native.notifyNow(`STATUS=${room}`)) room += 1;
    const memory = native.memfd('stored', 1);
    const sent: string[] = [];
    const told = [
      native.notifyElsewhere('FDSTORE=1', [memory]).then(() => sent.push('FDSTORE=1')),
      native.notifyElsewhere('FDSTOREREMOVE=1').then(() => sent.push('FDSTOREREMOVE=1')),
    ];
    memory.close();
    for (let read = 0; read < room; read += 1) {
      receiver.stdin!.write('read\n');
      assert.equal(await lines.next(), `STATUS=${read}`);
    }
    await Promise.all(told);
    for (const expected of ['FDSTORE=1 /memfd:stored (deleted)', 'FDSTOREREMOVE=1']) {
      receiver.stdin!.write('read\n');
      assert.equal(await lines.next(), expected);
    }
    assert.deepEqual(sent, ['FDSTORE=1', 'FDSTOREREMOVE=1']);
    assert.equal(native.notifyNow('STATUS=again'), true);
    remove();
  });

  it('sends nothing before the messages that wait for room', async () => {
    const script = `
import socket, sys
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
print("bound", flush=True)
sys.stdin.readline()
`;
    const { path, remove } = keepDirectory();
    receiver = spawn('python3', ['-c', script, path], { stdio: ['pipe', 'pipe', 'inherit'] });
    await linesOf(receiver).next();
    process.env.NOTIFY_SOCKET = path;
    while (native.notifyNow('STATUS=full'));
    const waits = native.notifyElsewhere('FDSTORE=1');
    // Another receiver would have room, but waiting messages come first.
    process.env.NOTIFY_SOCKET = '@criu-service-nobody';
    assert.equal(native.notifyNow('FDSTOREREMOVE=1'), false);
    receiver.kill();
    await assert.rejects(waits, { code: /ECONNREFUSED|EPIPE|ENOTCONN/ });
    remove();
  });

  it('refuses a wrong text or descriptor, by name', () => {
    requireArgumentError(() => native.notifyNow('a\0b'), 'state');
    requireArgumentError(() => native.notifyNow('READY=1', [7 as unknown as OwnedFd]), 'fds[0]');
  });
});

describe('journalSend', () => {
  it('sends fields in the native protocol, binary safe', () => {
    const sent = inJournal('reads', 'journal');
    const datagram = Buffer.from(sent, 'hex').toString('latin1');
    // A field with a newline is sent with its length; the others as text.
    assert.ok(
      datagram.includes('MESSAGE\n\x16\0\0\0\0\0\0\0first line\nsecond line\n'),
      JSON.stringify(datagram),
    );
    assert.ok(datagram.includes('CRIU_BINARY\n\x03\0\0\0\0\0\0\0\0\n\x01\n'), JSON.stringify(datagram));
    assert.ok(datagram.includes('PRIORITY=6\n'), JSON.stringify(datagram));
  });

  it('keeps a record for a journal that is being restarted', () => {
    const sent = inJournal('restarts', 'journal-restarts');
    assert.match(Buffer.from(sent, 'hex').toString('latin1'), /^MESSAGE=said meanwhile\n/m);
  });

  it('refuses a malformed field', () => {
    requireNativeError(
      () => native.journalSend([Buffer.from('no equals sign')]),
      'EINVAL',
      'sd_journal_sendv',
    );
    requireArgumentError(() => native.journalSend(['MESSAGE=x' as unknown as Uint8Array]), 'fields[0]');
    requireArgumentError(() => native.journalSend('MESSAGE=x' as unknown as Uint8Array[]), 'fields');
  });

  it('uses one descriptor for all records', async () => {
    const sent = async (): Promise<number> => {
      native.journalSend([Buffer.from('MESSAGE=criu-service native test')]);
      while (native.journalPending() > 0) await new Promise((resolve) => setTimeout(resolve, 1));
      return countFds();
    };
    const first = await sent();
    for (let i = 0; i < 10; i += 1) await sent();
    // Other code in this process may close its descriptors meanwhile.
    assert.ok((await sent()) <= first);
  });

  it('never waits for a journal that does not read: a record too many is refused', () => {
    // A call that waited for the journal would never return.
    const { sent, refused } = JSON.parse(inJournal('silent', 'journal-full')) as Record<string, number>;
    assert.ok(sent! > 4096);
    assert.ok(refused! > 0);
  });
});

/** Runs a call in a mount namespace with an empty /run, because libsystemd knows the journal by that path only. */
function inJournal(journal: 'reads' | 'silent' | 'restarts', call: string): string {
  const receiver = fileURLToPath(new URL('./fixtures/journal-receiver.py', import.meta.url));
  const script = 'mount -t tmpfs none /run && mkdir -p /run/systemd/journal && exec "$@"';
  const command = ['python3', receiver, journal, process.execPath, '--import=tsx', child, call];
  return execFileSync('unshare', ['-r', '-m', 'sh', '-c', script, 'sh', ...command], {
    encoding: 'utf8',
    cwd: root,
  });
}

function keepDirectory(): { path: string; remove: () => void } {
  const directory = mkdtempSync(join(tmpdir(), 'criu-service-native-'));
  return { path: join(directory, 'notify'), remove: () => rmSync(directory, { recursive: true }) };
}

/** The lines that a process prints, read one by one. */
function linesOf(process: ChildProcess): { next(): Promise<string | undefined> } {
  const lines = createInterface({ input: process.stdout! })[Symbol.asyncIterator]();
  return { next: async () => (await lines.next()).value as string | undefined };
}

describe('startScope', () => {
  it('waits for a silent bus on one thread for each user, and never on the shared threads', async () => {
    const { path, remove } = keepDirectory();
    const connections: Socket[] = [];
    const bus = createServer((socket) => connections.push(socket.on('error', () => {})));
    await new Promise<void>((resolve) => bus.listen(path, resolve));
    const before = process.env.DBUS_SYSTEM_BUS_ADDRESS;
    process.env.DBUS_SYSTEM_BUS_ADDRESS = `unix:path=${path}`;
    const options = { name: 'criu-restore-test.scope', slice: 'system.slice', description: 'A test' };
    const start = (lane: number): Promise<string> =>
      native.startScope({ ...options, pid: process.pid, lane }).catch((error) => error.syscall);
    const connected = async (count: number): Promise<void> => {
      for (let tries = 0; connections.length < count; tries += 1) {
        assert.ok(tries < 100_000, `${connections.length} in place of ${count}`);
        await sleep(1);
      }
    };
    const alices = Array.from({ length: 6 }, () => start(1500));
    await connected(1);
    const roots = start(0);
    await connected(2);
    // libuv has four threads, and these are six.
    await stat(path);
    assert.equal(connections.length, 2);
    while (connections.length > 0) connections.pop()!.destroy();
    bus.on('connection', (socket) => socket.destroy());
    assert.deepEqual(await Promise.all([...alices, roots]), Array(7).fill('StartTransientUnit'));
    if (before === undefined) delete process.env.DBUS_SYSTEM_BUS_ADDRESS;
    else process.env.DBUS_SYSTEM_BUS_ADDRESS = before;
    bus.close();
    remove();
  });

  it('demands the uid of its lane', () => {
    const options = { name: 'a.scope', slice: 'b.slice', description: '', pid: 1 };
    requireArgumentError(() => native.startScope({ ...options, lane: -1 }), 'options.lane');
  });
});
