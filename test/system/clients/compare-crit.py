#!/usr/bin/python3
"""compare-crit.py DIRECTORY: each image as crit and as criuctl print it; prints the differences, and the number of images that are equal."""
import json
import os
import subprocess
import sys

# crit of 4.2 has the new name, that of 4.1 the old.
RENAMED = {'nr_pages': 'compat_nr_pages'}
# crit prints raw bytes, and criuctl where they are.
RAW = ('extra', 'payload')


def plain(value):
    if isinstance(value, dict):
        return {RENAMED.get(name, name): plain(each) for name, each in value.items() if name not in RAW}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, str):
        return ''.join(value.split('\n'))
    # criuctl prints large numbers as strings.
    return str(value) if type(value) is int and abs(value) >= 2**53 else value


def decoded(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return plain(json.loads(done.stdout)) if done.returncode == 0 else None


directory = sys.argv[1]
equal = 0
for name in sorted(os.listdir(directory)):
    path = os.path.join(directory, name)
    if not name.endswith('.img') or name.startswith('pages-'):
        continue
    theirs = decoded('crit', 'decode', '-i', path)
    ours = decoded('criuctl', 'images', 'decode', path)
    if ours is None:
        print(name, 'is not decoded')
    elif theirs == ours:
        equal += 1
    elif theirs is not None:
        print(name, 'differs:', json.dumps(theirs)[:1000], json.dumps(ours)[:1000])
print(equal)
