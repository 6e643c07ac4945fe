"""session.py STEPS COMMAND...: a person at a terminal, who starts a command there; prints the screen and the exit status, as JSON.

STEPS is a list of steps, as JSON; they are done in turn:
  ["expect", REGEX]       waits until the screen since the last match shows this
  ["type", TEXT]          types
  ["press", KEY, REGEX]   presses a key, and again every two seconds, until the screen shows this: a shell prints the name of a job
                          before that job has the terminal, and a key that comes earlier is the shell's
  ["size", ROWS, COLUMNS] changes the size of the terminal
  ["signal", NUMBER]      sends a signal to the command
  ["hang-up"]             takes the terminal away
Then it waits for the end of the command.
"""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

PATIENCE = 100
AGAIN = 2
screen = b""
seen = 0
steps = json.loads(sys.argv[1])
pid, fd = pty.fork()
if pid == 0:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.environ.update(PS1="$ ", TERM="xterm")
    os.execvp(sys.argv[2], sys.argv[2:])


def size(rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def read(until):
    """False at the end of the terminal, or when it is time."""
    global screen
    if not select.select([fd], [], [], max(0, until - time.monotonic()))[0]:
        return False
    try:
        data = os.read(fd, 65536)
    except OSError:
        return False
    screen += data
    return bool(data)


def answer(**more):
    # The modes of the terminal, as the command has left them.
    print(json.dumps({"screen": screen.decode(errors="replace"), **more}))
    sys.exit()


def expect(regex, key=b""):
    global seen
    until = time.monotonic() + PATIENCE
    pressed = -AGAIN
    while not (found := re.search(regex.encode(), screen[seen:])):
        if key and time.monotonic() >= pressed + AGAIN:
            os.write(fd, key)
            pressed = time.monotonic()
        if not read(min(until, pressed + AGAIN) if key else until) and (time.monotonic() > until or not is_open()):
            os.kill(pid, signal.SIGKILL)
            answer(status=None, missed=regex)
    seen += found.end()


def is_open():
    """False if the other end of the terminal is closed."""
    poll = select.poll()
    poll.register(fd, select.POLLHUP)
    return not poll.poll(0)


size(24, 80)
for step, *arguments in steps:
    if step == "expect":
        expect(*arguments)
    elif step == "press":
        key, regex = arguments
        expect(regex, key.encode())
    elif step == "type":
        os.write(fd, arguments[0].encode())
    elif step == "size":
        size(*arguments)
    elif step == "signal":
        os.kill(pid, arguments[0])
    elif step == "hang-up":
        os.close(fd)
        _, status = os.waitpid(pid, 0)
        answer(status=os.waitstatus_to_exitcode(status))
until = time.monotonic() + PATIENCE
while read(until):
    pass
if time.monotonic() > until:
    os.kill(pid, signal.SIGKILL)
_, status = os.waitpid(pid, 0)
answer(status=os.waitstatus_to_exitcode(status))
