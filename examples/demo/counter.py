#!/usr/bin/python3
"""Counts, ten times a second. The number lives in its memory; the file only shows it."""
import os
import sys
import time

number = 0
while True:
    number += 1
    with open(sys.argv[1] + ".new", "w") as out:
        out.write(f"process {os.getpid()} has counted to {number}\n")
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    time.sleep(0.1)
