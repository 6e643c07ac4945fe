"""Steps of a computation over much memory, until a file is there: large.py MEBIBYTES NUMBER PAUSE [FILE]."""
import hashlib
import os
import random
import sys
import time

mebibytes, number, pause, *end = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:]
memory = bytearray(random.Random(7).randbytes(mebibytes << 20))
for step in range(number):
    if end and os.path.exists(end[0]):
        break
    # In a small part: the kernel tracks changes by huge pages, too.
    at = step * 4096 % (1 << 20)
    memory[at:at + 8] = step.to_bytes(8, 'big')
    print(step, flush=True)
    time.sleep(pause)
print(hashlib.sha256(memory).hexdigest(), flush=True)
