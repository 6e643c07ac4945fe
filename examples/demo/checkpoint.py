#!/usr/bin/python3
"""checkpoint.py dump PID DIRECTORY | restore DIRECTORY: a client as anyone writes it, with CRIU's own Python library."""
import os
import sys

import pycriu

criu = pycriu.criu()
criu.use_sk("/run/criu-service.socket")
criu.opts.images_dir_fd = os.open(sys.argv[-1], os.O_DIRECTORY)
criu.opts.log_level = 4

try:
    if sys.argv[1] == "dump":
        criu.opts.pid = int(sys.argv[2])
        criu.opts.log_file = "dump.log"
        criu.dump()
        print(f"process {sys.argv[2]} is in {sys.argv[3]}")
    else:
        criu.opts.log_file = "restore.log"
        print(f"process {criu.restore().pid} runs again")
except pycriu.CRIUException as refusal:
    sys.exit(str(refusal))
