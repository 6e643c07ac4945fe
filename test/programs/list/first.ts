import { type Program, progress } from '../program.ts';

const ready = 'test -s progress';

export const first: readonly Program[] = [
  {
    name: 'python3, a loop',
    start: `exec python3 -c 'import time
for n in range(10**9): open("progress", "w").write(str(n)); time.sleep(0.05)'`,
    ready,
    works: progress,
  },
  {
    name: 'bash, a script with sleep',
    start: `exec bash -c 'n=0; while :; do n=$((n + 1)); echo $n >progress; sleep 0.1; done'`,
    ready,
    works: progress,
  },
  {
    name: 'perl',
    start: `exec perl -e '$n = 0; while (1) { open F, ">", "progress"; print F ++$n; close F; select undef, undef, undef, 0.05 }'`,
    ready,
    works: progress,
  },
  {
    name: 'python3, an asyncio server on a Unix socket',
    files: {
      'server.py': `import asyncio
total = 0
async def serve(reader, writer):
    global total
    while line := await reader.readline():
        total += int(line)
        writer.write(b"%d\\n" % total)
    writer.close()
async def main():
    async with await asyncio.start_unix_server(serve, "socket") as server:
        await server.serve_forever()
asyncio.run(main())
`,
    },
    start: 'exec python3 server.py',
    ready: 'echo 0 | socat -t5 - UNIX:socket | grep 0',
    prepare: 'echo 42 | socat -t5 - UNIX:socket | grep 42',
    works: 'echo 0 | socat -t5 - UNIX:socket | grep 42',
  },
  {
    name: 'redis-server on a Unix socket',
    start: 'exec redis-server --port 0 --unixsocket $DIR/socket --save "" --daemonize no',
    ready: 'redis-cli -s socket ping | grep PONG',
    prepare: 'redis-cli -s socket set key 42',
    works: 'redis-cli -s socket get key | grep 42 && redis-cli -s socket incr other',
  },
  {
    name: 'redis-server on TCP',
    start: 'exec redis-server --port $PORT --save "" --daemonize no',
    ready: 'redis-cli -p $PORT ping | grep PONG',
    prepare: 'redis-cli -p $PORT set key 42',
    works: 'redis-cli -p $PORT get key | grep 42 && redis-cli -p $PORT incr other',
  },
  {
    name: 'tmux, its server with a loop in a pane',
    start: `tmux -L battery new-session -d 'sh -c "n=0; while :; do n=\\$((n + 1)); echo \\$n >progress; sleep 0.1; done"'`,
    pid: 'tmux -L battery display-message -p "#{pid}"',
    ready,
    works: progress,
  },
  {
    name: 'vim at a terminal',
    at: 'terminal',
    start: 'exec vim.tiny -u NONE -n text',
    ready: 'grep -q text screen',
    keys: 'ohello\x1b:w!\r',
    prepare: 'rm -f text',
    works: 'grep -q hello text && rm text',
  },
  {
    name: 'make -j2 with shell loops',
    files: {
      Makefile: `all: one two
one two:
\t@n=0; while :; do n=$$((n + 1)); echo $$n >progress; sleep 0.1; done
`,
    },
    start: 'exec make -j2',
    ready,
    works: progress,
  },
  {
    name: 'node',
    start: `exec node -e 'let n = 0; setInterval(() => require("fs").writeFileSync("progress", String(n++)), 50)'`,
    ready,
    works: progress,
  },
  {
    name: 'python3 whose output another program reads',
    at: 'pipe',
    start: `exec python3 -uc 'import time
for n in range(10**9): print(n); open("progress", "w").write(str(n)); time.sleep(0.05)'`,
    ready,
    works: progress,
  },
  {
    name: 'sqlite3 in a transaction',
    files: {
      'write.py': `import sqlite3, time
db = sqlite3.connect("db", isolation_level=None)
db.execute("create table t (n)")
db.execute("begin immediate")
for n in range(10**9):
    db.execute("insert into t values (?)", (n,))
    open("progress", "w").write(str(n))
    time.sleep(0.05)
`,
    },
    start: 'exec python3 write.py',
    ready,
    works: progress,
  },
];
