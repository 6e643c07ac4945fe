/** Pipelines, compressors, and computations that end with a result. */
import { type Program, progress } from '../program.ts';

/** Compresses until it is told to end, and is right in the end. */
function compressor(name: string, command: string, undo: string): Program {
  return {
    name,
    files: {
      'source.py': `import os, sys, time
while not os.path.exists("end"):
    sys.stdout.write("a line of text %d\\n" % time.time_ns()); sys.stdout.flush(); time.sleep(0.001)
sys.stdout.write("the end\\n")
`,
    },
    start: `exec sh -c 'python3 source.py | tee plain | ${command} >packed; touch done'`,
    ready: 'test -s plain',
    works: `if test $PHASE = before; then kill -0 $PID && pgrep -x ${command.split(' ')[0]}; else touch end; test -e done && ${undo} <packed | cmp - plain && tail -n 1 plain | grep 'the end'; fi`,
  };
}

export const pipes: readonly Program[] = [
  compressor('a pipeline with gzip', 'gzip', 'gzip -d'),
  compressor('a pipeline with xz -T2', 'xz -T2', 'xz -d'),
  compressor('a pipeline with zstd -T2', 'zstd -T2', 'zstd -d'),
  compressor('a pipeline with pigz', 'pigz -p2', 'pigz -d'),
  {
    name: 'python3 whose output another program reads',
    at: 'pipe',
    start: `exec python3 -uc 'import time
for n in range(10**9): print(n); open("progress", "w").write(str(n)); time.sleep(0.05)'`,
    ready: 'test -s progress',
    works: progress,
  },
  {
    name: 'the left side of a pipe to tee',
    start: `sh -c 'exec python3 -uc "import time
for n in range(10**9): print(n); open(\\"progress\\", \\"w\\").write(str(n)); time.sleep(0.05)"' | tee copy`,
    pid: 'pgrep -n -x python3',
    ready: 'test -s progress',
    works: progress,
  },
  {
    name: 'tail -f of a growing file',
    start: `touch grows; exec tail -n +1 -f grows >progress`,
    ready: 'date +%N >>grows; test -s progress',
    works: 'date +%N >>grows; sleep 1; cmp grows progress',
  },
  {
    name: 'a FIFO between two programs',
    start: `mkfifo fifo; exec sh -c '(while :; do date +%N; sleep 0.1; done) >fifo & while read -r line; do echo $line >progress; done <fifo'`,
    ready: 'test -s progress',
    works: progress,
  },
  {
    name: 'xargs -P',
    start: `exec sh -c 'yes | exec xargs -P 2 -n 1 sh -c "date +%N >progress; sleep 0.1"'`,
    ready: 'test -s progress',
    works: progress,
  },
  {
    name: 'GNU parallel',
    start: `exec sh -c 'yes | parallel -j2 --pipe -N1 "cat >/dev/null; date +%N >progress; sleep 0.1"'`,
    ready: 'test -s progress',
    works: progress,
  },
  {
    name: 'a file that another program locks with flock(1)',
    start: `exec flock lock sh -c 'while :; do date +%N >progress; sleep 0.1; done'`,
    ready: 'test -s progress',
    works: 'test -s progress && ! flock -n lock true && rm progress',
  },
  {
    name: 'rsync of a file, slowly',
    start: 'head -c 50M /dev/urandom >big; exec rsync --bwlimit=2000 big copy',
    ready: 'ls -a | grep "^.copy"',
    works: 'ls -a | grep "^.copy" && kill -0 $PID',
  },
  {
    name: 'wget from a server outside of the tree',
    files: {
      'slow.py': `import http.server, os, time
class Slow(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "1000000000"); self.end_headers()
        while True: self.wfile.write(b"x" * 100); self.wfile.flush(); time.sleep(0.1)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Slow).serve_forever()
`,
    },
    start:
      '(exec python3 slow.py) & exec sh -c "exec wget -q -t0 --waitretry=1 --retry-connrefused -O got http://127.0.0.1:$PORT/"',
    ready: 'test -s got',
    works: 'a=$(stat -c %s got); sleep 1; test $(stat -c %s got) -gt $a',
  },
];
