"""A computation whose steps depend on one another: each line has the sum of all before it."""
import sys
import time

total = 0
for step in range(1, int(sys.argv[1]) + 1):
    total += step
    print(step, total, flush=True)
    time.sleep(0.1)
