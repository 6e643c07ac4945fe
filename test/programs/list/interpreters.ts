/** Interpreters and language runtimes. */
import { type Program, progress } from '../program.ts';

const ready = 'test -s progress';

/** A program that writes its count into the file `progress`. */
function counting(name: string, start: string, more: Partial<Program> = {}): Program {
  return { name, start, ready, works: progress, ...more };
}

export const interpreters: readonly Program[] = [
  counting(
    'python3, a loop',
    `exec python3 -c 'import time
for n in range(10**9): open("progress", "w").write(str(n)); time.sleep(0.05)'`,
  ),
  counting(
    'python3 with numpy',
    `exec python3 -c 'import numpy
a = numpy.random.rand(200, 200)
for n in range(10**9): a = a @ a; a /= abs(a).max(); open("progress", "w").write(str(n))'`,
  ),
  counting('python3, multiprocessing with a queue', 'exec python3 pool.py', {
    files: {
      'pool.py': `import multiprocessing
def work(n):
    return sum(range(n))
if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        for n, each in enumerate(pool.imap(work, (10000 for _ in range(10**9)))):
            open("progress", "w").write(str(n))
`,
    },
  }),
  counting('python3, threads and shared memory', 'exec python3 shared.py', {
    files: {
      'shared.py': `import threading, time
from multiprocessing import shared_memory
memory = shared_memory.SharedMemory(create=True, size=1 << 20)
def work():
    while True:
        memory.buf[0] = (memory.buf[0] + 1) % 256
        open("progress", "w").write(str(memory.buf[0]))
        time.sleep(0.05)
threads = [threading.Thread(target=work) for _ in range(4)]
for each in threads: each.start()
`,
    },
  }),
  counting('python3, a child process with a pipe', 'exec python3 child.py', {
    files: {
      'child.py': `import subprocess, sys, time
code = "import time\\nfor n in range(10**9): print(n, flush=True); time.sleep(0.05)"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
for line in child.stdout: open("progress", "wb").write(line)
`,
    },
  }),
  counting('python3, timerfd, epoll, signalfd and inotify', 'exec python3 kernel.py', {
    files: {
      'kernel.py': `import ctypes, os, select, signal, socket
libc = ctypes.CDLL(None, use_errno=True)
timer = libc.timerfd_create(1, 0)
libc.timerfd_settime(timer, 0, (ctypes.c_long * 4)(0, 50000000, 0, 50000000), None)
watch = libc.inotify_init()
assert libc.inotify_add_watch(watch, os.getcwd().encode(), 2) >= 0
poll = select.epoll()
poll.register(timer, select.EPOLLIN)
poll.register(watch, select.EPOLLIN)
seen = 0
while True:
    for fd, _ in poll.poll():
        seen += 1
        os.read(fd, 4096)
        if fd == timer: open("progress", "w").write(str(seen))
`,
    },
  }),
  counting(
    'bash, a script with sleep',
    `exec bash -c 'n=0; while :; do n=$((n + 1)); echo $n >progress; sleep 0.1; done'`,
  ),
  counting(
    'bash, a coprocess and a here document',
    `exec bash -c 'coproc bc; n=0; while :; do echo "$n + 1" >&"\${COPROC[1]}"; read -r n <&"\${COPROC[0]}"; cat >progress <<<$n; sleep 0.05; done'`,
  ),
  counting('zsh', `exec zsh -c 'n=0; while :; do n=$((n + 1)); echo $n >progress; sleep 0.1; done'`),
  counting(
    'fish',
    `exec fish -c 'set n 0; while true; set n (math $n + 1); echo $n >progress; sleep 0.1; end'`,
  ),
  counting(
    'busybox sh',
    `exec busybox sh -c 'n=0; while :; do n=$((n + 1)); echo $n >progress; sleep 1; done'`,
  ),
  counting(
    'perl',
    `exec perl -e '$n = 0; while (1) { open F, ">", "progress"; print F ++$n; close F; select undef, undef, undef, 0.05 }'`,
  ),
  counting('ruby', `exec ruby -e 'n = 0; loop { File.write("progress", n += 1); sleep 0.05 }'`),
  counting(
    'ruby with threads',
    `exec ruby -e 'q = Queue.new; Thread.new { n = 0; loop { q << n += 1; sleep 0.05 } }; loop { File.write("progress", q.pop) }'`,
  ),
  counting(
    'php',
    `exec php -r '$n = 0; while (true) { file_put_contents("progress", ++$n); usleep(50000); }'`,
  ),
  counting(
    'lua',
    `exec lua5.4 -e 'local n = 0; while true do n = n + 1; local f = io.open("progress", "w"); f:write(n); f:close() end'`,
  ),
  counting(
    'luajit',
    `exec luajit -e 'local n = 0; while true do n = n + 1; local f = io.open("progress", "w"); f:write(n); f:close() end'`,
  ),
  counting('tcl', 'exec tclsh count.tcl', {
    files: {
      'count.tcl': 'set n 0\nwhile 1 { set f [open progress w]; puts $f [incr n]; close $f; after 50 }\n',
    },
  }),
  counting(
    'gawk',
    `exec gawk 'BEGIN { while (1) { print ++n >"progress"; close("progress"); system("sleep 0.05") } }'`,
  ),
  counting(
    'guile',
    `exec guile -c '(let loop ((n 0)) (call-with-output-file "progress" (lambda (p) (write n p))) (usleep 50000) (loop (+ n 1)))'`,
  ),
  counting(
    'sbcl',
    `exec sbcl --noinform --eval '(loop for n from 0 do (with-open-file (f "progress" :direction :output :if-exists :supersede) (print n f)) (sleep 0.05))'`,
  ),
  counting('swi-prolog', 'exec swipl -g count -t halt count.pl', {
    files: {
      'count.pl': `count :- between(0, inf, N), open(progress, write, S), write(S, N), close(S), sleep(0.05), fail.
`,
    },
  }),
  counting('erlang', 'exec escript count.escript', {
    files: {
      'count.escript': `#!/usr/bin/env escript
main(_) -> count(0).
count(N) -> file:write_file("progress", integer_to_list(N)), timer:sleep(50), count(N + 1).
`,
    },
  }),
  counting(
    'R',
    'exec Rscript -e \'n <- 0; repeat { n <- n + 1; writeLines(as.character(n), "progress"); Sys.sleep(0.05) }\'',
  ),
  counting('gp (PARI)', `exec gp -fq -D colors=no count.gp`, {
    files: { 'count.gp': 'n=0; while(1, n=n+1; factor(2^90+n); system(Str("echo ", n, ">progress")))\n' },
  }),
  counting(
    'bc into a file',
    `exec sh -c 'echo "n = 0; while (1) { n += 1; if (n % 2000 == 0) n }" | exec bc >progress'`,
    {
      pid: 'pgrep -n -x bc',
    },
  ),
  counting('java', 'exec java Count.java', {
    files: {
      'Count.java': `import java.nio.file.*;
public class Count {
  public static void main(String[] args) throws Exception {
    for (long n = 0; ; n++) { Files.writeString(Path.of("progress"), "" + n); Thread.sleep(50); }
  }
}
`,
    },
  }),
  counting('go', 'go build -o count count.go && exec ./count', {
    files: {
      'count.go': `package main

import ("os"; "strconv"; "time")

func main() {
	values := make(chan int)
	go func() { for n := 0; ; n++ { values <- n; time.Sleep(50 * time.Millisecond) } }()
	for n := range values { os.WriteFile("progress", []byte(strconv.Itoa(n)), 0o644) }
}
`,
    },
  }),
  counting(
    'node',
    `exec node -e 'let n = 0; setInterval(() => require("fs").writeFileSync("progress", String(n++)), 50)'`,
  ),
];
