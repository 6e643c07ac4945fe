"""Steps of a computation whose every line depends on all before it: steps.py NUMBER PAUSE [STATUS [FILE]]. With the file, it ends before."""
import hashlib
import os
import sys
import time

number, pause = int(sys.argv[1]), float(sys.argv[2])
digest = b''
for step in range(number):
    if len(sys.argv) > 4 and os.path.exists(sys.argv[4]):
        break
    digest = hashlib.sha256(digest + str(step).encode()).digest()
    print(step, digest.hex(), flush=True)
    time.sleep(pause)
sys.exit(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
