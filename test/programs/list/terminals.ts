/** Programs at terminals, and programs that make terminals. */
import { type Program, progress } from '../program.ts';

const counter = 'sh -c "n=0; while :; do n=\\$((n + 1)); echo \\$n >progress; sleep 0.1; done"';

export const terminals: readonly Program[] = [
  {
    name: 'vim at a terminal',
    at: 'terminal',
    start: 'exec vim.tiny -u NONE -n text',
    ready: 'grep -q text screen',
    keys: '\x1b\x1bohello\x1b:w!\r',
    works: 'grep -q hello text && rm text',
  },
  {
    name: 'nano at a terminal',
    at: 'terminal',
    start: 'exec nano -I text',
    ready: 'grep -q nano screen',
    keys: 'hello\x13',
    works: 'grep -q hello text && rm text',
  },
  {
    name: 'emacs at a terminal',
    at: 'terminal',
    start: 'exec emacs -nw -Q text',
    ready: 'grep -q "U:" screen',
    keys: '\x1b:(write-region "x" nil "done")\r',
    works: 'test -e done && rm done',
  },
  {
    name: 'python3 at a terminal',
    at: 'terminal',
    start: 'exec python3 -i -q',
    ready: 'grep -q ">>>" screen',
    keys: 'open("done", "w").close()\r',
    works: 'test -e done && rm done',
  },
  {
    name: 'bash at a terminal',
    at: 'terminal',
    start: 'exec bash --norc -i',
    ready: 'grep -q bash screen',
    keys: '\x15touch done\r',
    works: 'test -e done && rm done',
  },
  {
    name: 'bash at a terminal with a job in the background',
    at: 'terminal',
    start: 'exec bash --norc -i',
    ready: 'grep -q bash screen',
    keys: '\x15(while :; do date +%N >progress; sleep 0.1; done) &\r',
    works: progress,
  },
  {
    name: 'top at a terminal',
    at: 'terminal',
    start: 'exec top -d 0.5',
    ready: 'grep -q Tasks screen',
    works: 'a=$(stat -c %s screen); sleep 2; test $(stat -c %s screen) -gt $a',
  },
  {
    name: 'less at a terminal',
    at: 'terminal',
    files: { long: `${Array.from({ length: 500 }, (_, n) => `line ${n}`).join('\n')}\n` },
    start: 'exec less long',
    ready: 'grep -q "line 3" screen',
    keys: 'g/line 399\r!touch done\r\r',
    works: 'test -e done && rm done',
  },
  {
    name: 'mc at a terminal',
    at: 'terminal',
    start: 'exec mc -u',
    ready: 'grep -q Help screen',
    keys: 'touch done\r',
    works: 'test -e done && rm done',
  },
  {
    name: 'a script with output to the terminal',
    at: 'terminal',
    start: `exec sh -c 'n=0; while :; do n=$((n + 1)); echo $n; echo $n >progress; sleep 0.1; done'`,
    ready: 'test -s progress',
    works: progress,
  },
  {
    name: 'tmux, its server with a loop in a pane',
    start: `tmux -L $PORT new-session -d '${counter}'`,
    pid: 'tmux -L $PORT display-message -p "#{pid}"',
    ready: 'test -s progress',
    works: progress,
  },
  {
    name: 'tmux, its server with a shell',
    start: `tmux -L $PORT new-session -d 'exec bash --norc -i'`,
    pid: 'tmux -L $PORT display-message -p "#{pid}"',
    ready: 'tmux -L $PORT capture-pane -p | grep bash',
    works: 'tmux -L $PORT send-keys "touch done" Enter; test -e done && rm done',
  },
  {
    name: 'screen with a loop',
    start: `exec screen -D -m ${counter}`,
    ready: 'test -s progress',
    works: progress,
  },
  {
    name: 'script(1) with a loop',
    start: `exec script -qc '${counter}' log`,
    ready: 'test -s progress',
    works: progress,
  },
  {
    name: 'expect with a program at its terminal',
    files: {
      'e.exp':
        'set timeout -1\nspawn sh -c {stty -echo; exec bc -q -i}\nset n 0\nwhile 1 { send "$n + 1\\r"; expect -re {\\n([0-9]+)\\r}; set n $expect_out(1,string); set f [open progress w]; puts $f $n; close $f; after 50 }\n',
    },
    start: 'exec expect e.exp',
    ready: 'test -s progress',
    works: progress,
  },
];
