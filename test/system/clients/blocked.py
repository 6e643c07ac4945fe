"""Like steps.py, with a connection to the journal for as long as a file is there: blocked.py NUMBER PAUSE FILE END. It ends when
the file END is there."""
import hashlib
import os
import socket
import sys
import time

number, pause, block, end = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4]
digest = b''
journal = None
for step in range(number):
    if os.path.exists(end):
        break
    digest = hashlib.sha256(digest + str(step).encode()).digest()
    if os.path.exists(block) and journal is None:
        journal = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        journal.connect('/run/systemd/journal/stdout')
    print(step, digest.hex(), flush=True)
    time.sleep(pause)
