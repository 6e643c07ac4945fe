/** Programs with kernel objects or surroundings that decide about a dump. */
import { type Program, progress } from '../program.ts';

const ready = 'test -s progress';
const loop = 'while :; do date +%N >progress; sleep 0.1; done';

function python(name: string, code: string, more: Partial<Program> = {}): Program {
  const wait = 'n = 0\nwhile True: n += 1; open("progress", "w").write(str(n)); time.sleep(0.05)\n';
  return {
    name,
    files: { 'kernel.py': `import asyncio, ctypes, os, signal, socket, syslog, time\n${code}\n${wait}` },
    start: 'exec python3 kernel.py',
    ready,
    works: progress,
    ...more,
  };
}

export const kernel: readonly Program[] = [
  {
    name: 'sh, started by nohup and setsid',
    start: `nohup setsid sh -c 'echo $$ >pid; ${loop}' &`,
    pid: 'cat pid',
    ready,
    works: progress,
  },
  {
    name: 'sh with its output in the journal (systemd-cat)',
    start: `exec systemd-cat sh -c '${loop}'`,
    ready,
    works: progress,
  },
  {
    name: 'sh in a file that root has opened',
    at: 'roots-file',
    start: `exec sh -c '${loop}'`,
    ready,
    works: progress,
  },
  {
    name: 'sh in a directory that cannot be read',
    start: `mkdir closed && cd closed && chmod 300 . && exec sh -c 'while :; do date +%N >../progress; sleep 0.1; done'`,
    ready,
    works: progress,
  },
  {
    name: 'sh in a directory that was removed',
    start: `mkdir gone && cd gone && rmdir ../gone && exec sh -c 'while :; do date +%N >$DIR/progress; sleep 0.1; done'`,
    ready,
    works: progress,
  },
  {
    name: 'a program whose file was removed',
    start: `cp /bin/bash program && (exec ./program -c 'rm program; ${loop}')`,
    pid: 'pgrep -n -x program',
    ready,
    works: progress,
  },
  {
    name: 'sh under strace',
    start: `exec strace -f -o trace sh -c '${loop}'`,
    ready,
    works: progress,
  },
  python(
    'python3 with a large deleted file',
    'f = open("big", "wb"); f.write(bytes(5 << 20)); f.flush(); os.unlink("big")',
  ),
  python('python3 with a connection to syslog', 'syslog.syslog("hello")'),
  python(
    'python3 with a connection to the bus',
    's = socket.socket(socket.AF_UNIX); s.connect("/run/dbus/system_bus_socket")',
  ),
  python(
    'python3 with System V memory',
    'l = ctypes.CDLL(None); l.shmat.restype = ctypes.c_void_p; l.shmat(l.shmget(0, 4096, 0o1600), None, 0)',
  ),
  python(
    'python3 with memfd, eventfd and a socket pair',
    'a = os.memfd_create("m"); os.write(a, b"x"); b = os.eventfd(3); c = socket.socketpair()',
  ),
  python(
    'python3 with a pidfd of its child',
    'p = os.fork()\nif p == 0: time.sleep(10**6)\nf = os.pidfd_open(p)',
  ),
  python(
    'python3 with a child in a session of its own',
    'p = os.fork()\nif p == 0:\n  os.setsid()\n  if os.fork(): os._exit(0)\n  time.sleep(10**6)\nos.waitpid(p, 0)',
  ),
  python('python3 with a zombie', 'p = os.fork()\nif p == 0: os._exit(3)'),
  python('python3 with a file that it may only write', 'f = open("w", "w"); os.chmod("w", 0o400)'),
  python(
    'python3 with a UDP socket',
    's = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", int(os.environ["PORT"])))',
  ),
  python(
    'python3 with a TCP connection to itself',
    'l = socket.create_server(("127.0.0.1", 0)); c = socket.create_connection(l.getsockname()); d = l.accept()',
  ),
  {
    name: 'sh with a background job that is stopped',
    start: `exec sh -c 'sleep 1000 & kill -STOP $!; ${loop}'`,
    ready,
    works: progress,
  },
  {
    name: 'python3 asyncio with a subprocess',
    files: {
      'sub.py': `import asyncio
async def main():
    child = await asyncio.create_subprocess_exec("sh", "-c", "while :; do date +%N; sleep 0.1; done", stdout=-1)
    async for line in child.stdout: open("progress", "wb").write(line)
asyncio.run(main())
`,
    },
    start: 'exec python3 sub.py',
    ready,
    works: progress,
  },
];
