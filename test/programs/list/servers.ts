/** Servers and databases. */
import type { Program } from '../program.ts';

const http =
  'python3 -c "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).read().decode())"';

export const servers: readonly Program[] = [
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
    name: 'python3 http.server',
    files: { page: 'hello\n' },
    start: 'exec python3 -m http.server $PORT --bind 127.0.0.1',
    ready: `${http} http://127.0.0.1:$PORT/page | grep hello`,
    works: `${http} http://127.0.0.1:$PORT/page | grep hello`,
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
    name: 'redis-server with a client that waits',
    start:
      'redis-server --port $PORT --save "" --daemonize yes --pidfile $DIR/pid && exec redis-cli -p $PORT blpop list 0',
    pid: 'pgrep -n redis-server',
    ready: 'redis-cli -p $PORT client list | grep blpop',
    works: 'redis-cli -p $PORT ping | grep PONG',
  },
  {
    name: 'memcached on a Unix socket',
    start: 'exec memcached -u $USER -s $DIR/socket',
    ready: 'test -S socket',
    prepare: `printf 'set k 0 0 2\\r\\n42\\r\\nquit\\r\\n' | socat -t5 - UNIX:socket | grep STORED`,
    works: `printf 'get k\\r\\nquit\\r\\n' | socat -t5 - UNIX:socket | grep 42`,
  },
  {
    name: 'nginx on a Unix socket',
    files: {
      'nginx.conf': `pid pid; error_log stderr; worker_processes 2; events {}
http { access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
  server { listen unix:socket; location / { return 200 hello; } } }
`,
    },
    start: `sed -i "s#unix:socket#unix:$DIR/socket#" nginx.conf && exec nginx -p $DIR -c nginx.conf -g 'daemon off;'`,
    ready: `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | socat -t5 - UNIX:socket | grep hello`,
    works: `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | socat -t5 - UNIX:socket | grep hello`,
  },
  {
    name: 'lighttpd on TCP',
    files: {
      'l.conf': 'server.document-root = env.DIR\nserver.port = env.PORT\nserver.bind = "127.0.0.1"\n',
      page: 'hello\n',
    },
    start: 'exec lighttpd -D -f l.conf',
    ready: `${http} http://127.0.0.1:$PORT/page | grep hello`,
    works: `${http} http://127.0.0.1:$PORT/page | grep hello`,
  },
  {
    name: 'mosquitto on a Unix socket',
    files: { 'm.conf': 'allow_anonymous true\n' },
    start: 'printf "listener 0 %s\\nuser %s\\n" $DIR/socket $USER >>m.conf && exec mosquitto -c m.conf',
    ready: 'test -S socket',
    works: 'test -S socket && kill -0 $PID',
  },
  {
    name: 'dnsmasq',
    start:
      'exec dnsmasq -k -C /dev/null -p $PORT --user=$USER --address=/battery.test/10.9.8.7 --bind-interfaces --listen-address=127.0.0.1 -x $DIR/pid',
    ready: 'test -s pid',
    works: 'kill -0 $PID',
  },
  {
    name: 'haproxy',
    files: {
      'h.cfg': `global
  stats socket SOCKET
defaults
  mode http
  timeout client 9s
  timeout server 9s
  timeout connect 9s
frontend f
  bind 127.0.0.1:PORT
  http-request return status 200 content-type text/plain string hello
`,
    },
    start: 'sed -i "s#SOCKET#$DIR/socket#; s#PORT#$PORT#" h.cfg && exec haproxy -f h.cfg',
    ready: `${http} http://127.0.0.1:$PORT/ | grep hello`,
    works: `${http} http://127.0.0.1:$PORT/ | grep hello`,
  },
  {
    name: 'postgres on a Unix socket',
    users: ['alice'],
    start: `P=$(ls -d /usr/lib/postgresql/*/bin) && $P/initdb -D data -A trust -U alice >log && exec $P/postgres -D data -k $DIR -c listen_addresses=`,
    ready: 'psql -h $DIR -U alice -c "select 1" postgres',
    prepare: 'psql -h $DIR -U alice -c "create table t as select 42 as n" postgres',
    works: 'psql -h $DIR -U alice -tc "insert into t select 1; select max(n) from t" postgres | grep 42',
  },
  {
    name: 'mariadbd on a Unix socket',
    start: `mariadb-install-db --no-defaults --user=$USER --datadir=$DIR/data --auth-root-authentication-method=normal >log 2>&1 &&
exec mariadbd --no-defaults --user=$USER --datadir=$DIR/data --socket=$DIR/socket --skip-networking --pid-file=$DIR/pid`,
    ready: 'mariadb --no-defaults -u root -S socket -e "select 1"',
    prepare:
      'mariadb --no-defaults -u root -S socket -e "create database d; create table d.t as select 42 as n"',
    works:
      'mariadb --no-defaults -u root -S socket -Ne "insert into d.t values (1); select max(n) from d.t" | grep 42',
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
    ready: 'test -s progress',
    works: 'progress',
  },
  {
    name: 'sshd',
    start: `ssh-keygen -q -t ed25519 -N '' -f key && mkdir -p /run/sshd 2>/dev/null; exec /usr/sbin/sshd -D -e -f /dev/null -p $PORT -h $DIR/key -o ListenAddress=127.0.0.1 -o PidFile=none`,
    ready: 'ssh-keyscan -p $PORT 127.0.0.1 | grep ed25519',
    works: 'ssh-keyscan -p $PORT 127.0.0.1 | grep ed25519',
  },
  {
    name: 'dbus-daemon',
    start: 'exec dbus-daemon --session --nofork --address=unix:path=$DIR/bus',
    ready:
      'dbus-send --bus=unix:path=$DIR/bus --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames',
    works:
      'dbus-send --bus=unix:path=$DIR/bus --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames',
  },
  {
    name: 'socat, a Unix socket that forks',
    start: 'exec socat UNIX-LISTEN:$DIR/socket,fork EXEC:cat',
    ready: 'echo hello | socat -t5 - UNIX:socket | grep hello',
    works: 'echo hello | socat -t5 - UNIX:socket | grep hello',
  },
  {
    name: 'rsyslogd with a socket of its own',
    users: ['root'],
    files: { 'r.conf': 'module(load="imuxsock" SysSock.Use="off")\n' },
    start: `printf 'input(type="imuxsock" Socket="%s")\\n*.* action(type="omfile" file="%s")\\n' $DIR/log-socket $DIR/log >>r.conf && exec rsyslogd -n -f r.conf -i $DIR/pid`,
    ready: 'test -S log-socket && logger -d -u log-socket hello && grep hello log',
    works: 'n=$(wc -l <log); logger -d -u log-socket again && sleep 1 && test $(wc -l <log) -gt $n',
  },
];
