#!/usr/bin/python3
"""sleeper.py HOW FILE: counts into FILE in the background, with a pause before each number, and prints its pid.

Every pause ends at a moment of CLOCK_MONOTONIC: `sleep` and `event` wait in the kernel until then (clock_nanosleep(2) with
TIMER_ABSTIME, a futex with an absolute timeout), `asyncio` compares the clock with its own list of such moments.
"""
import asyncio
import os
import sys
import threading
import time

PAUSE = 0.02
how, path = sys.argv[1:]

read, write = os.pipe()
child = os.fork()
if child != 0:
    os.close(write)
    if os.read(read, 1) != b"r":
        sys.exit("the process did not get ready")
    print(child)
    sys.exit(0)
os.setsid()
os.close(read)
file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)


def count(number):
    os.pwrite(file, b"%020d\n" % number, 0)


count(0)
null = os.open("/dev/null", os.O_RDWR)
for fd in range(3):
    os.dup2(null, fd)
os.close(null)
os.write(write, b"r")
os.close(write)


def pauses(pause):
    number = 0
    while True:
        pause(PAUSE)
        number += 1
        count(number)


async def ticks():
    loop = asyncio.get_running_loop()
    number = 0

    def tick():
        nonlocal number
        number += 1
        count(number)
        loop.call_later(PAUSE, tick)

    loop.call_later(PAUSE, tick)
    await loop.create_future()


if how == "sleep":
    pauses(time.sleep)
elif how == "event":
    pauses(threading.Event().wait)
else:
    asyncio.run(ticks())
