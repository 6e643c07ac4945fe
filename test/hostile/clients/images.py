#!/usr/bin/python3
"""images.py FILE JSON: merges a JSON object into every entry of an image of CRIU's.

A list in it replaces the one that is there, except that a list of objects is merged one by one. A key that the image lacks is
added, and a null takes one away.
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


path, change = sys.argv[1], json.loads(sys.argv[2])
with open(path, "rb") as f:
    image = images.load(f)
for entry in image["entries"]:
    if "rename" in change:
        rename(entry, *change["rename"])
    else:
        merge(entry, change)
with open(path, "wb") as f:
    images.dump(image, f)
