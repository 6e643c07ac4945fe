#!/usr/bin/python3
"""images.py: edits images of CRIU's. Each line of its standard input is a command.

A command is `{"files": [FILE...], "change": {...}}`: the change is merged into every entry of each file, and the answer is
`ok`. A single process edits all files, because under emulation Python takes seconds to start.

A list in the change replaces the list in the entry, except that lists of objects are merged element by element. A key that the
image lacks is added, and a null removes its key.
"""
import json
import sys

from pycriu import images


def merge(old, new):
    for key, value in new.items():
        if value is None:
            old.pop(key, None)
        elif isinstance(value, dict) and isinstance(old.get(key), dict):
            merge(old[key], value)
        elif isinstance(value, list) and value and isinstance(value[0], dict) and isinstance(old.get(key), list):
            for one, other in zip(old[key], value):
                merge(one, other)
        else:
            old[key] = value


def rename(old, before, after):
    """Every string that is `before` becomes `after`."""
    for key, value in list(old.items()):
        if value == before:
            old[key] = after
        elif isinstance(value, dict):
            rename(value, before, after)


def edit(path, change):
    with open(path, "rb") as f:
        image = images.load(f)
    for entry in image["entries"]:
        if "rename" in change:
            rename(entry, *change["rename"])
        else:
            merge(entry, change)
    with open(path, "wb") as f:
        images.dump(image, f)


for line in sys.stdin:
    command = json.loads(line)
    for path in command["files"]:
        edit(path, command["change"])
    print("ok", flush=True)
