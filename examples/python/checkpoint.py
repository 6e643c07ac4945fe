#!/usr/bin/python3
"""A client of the checkpoint service in Python, on CRIU's own library (Debian's package python3-pycriu).

It works for root, and for every user with processes and directories of their own.
"""
import argparse
import os
import sys

import pycriu

SERVICE = "/run/criu-service.socket"


def client(directory, log):
    """Options are set before a request, one object for each."""
    criu = pycriu.criu()
    # Without this the library would start criu itself, which then only root can use.
    criu.use_sk(SERVICE)
    # The directory is passed as a descriptor: the service opens it with the rights of this program's user.
    criu.opts.images_dir_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    criu.opts.log_file = log
    criu.opts.log_level = 4
    return criu


def dump(arguments):
    criu = client(arguments.directory, "dump.log")
    # Without a pid the service would dump this very program.
    criu.opts.pid = arguments.pid
    criu.opts.leave_running = arguments.leave_running
    criu.dump()
    print(f"process {arguments.pid} is in {arguments.directory}")


def restore(arguments):
    print(f"process {client(arguments.directory, 'restore.log').restore().pid} runs again")


def parse():
    parser = argparse.ArgumentParser(description="Checkpoints and restores processes through the checkpoint service.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("dump", help="write a process and its children into a directory, and end them")
    verb.add_argument("--leave-running", action="store_true", help="do not end them")
    verb.add_argument("pid", type=int)
    verb.add_argument("directory")
    verb = verbs.add_parser("restore", help="bring them back, under the pids that they had")
    verb.add_argument("directory")
    return parser.parse_args()


def main():
    arguments = parse()
    try:
        {"dump": dump, "restore": restore}[arguments.verb](arguments)
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")
    except pycriu.CRIUExceptionExternal as error:
        # The request arrived, and was refused or failed; the number is the service's reason.
        reason = os.strerror(error.errno) if error.errno else "failed"
        sys.exit(
            f"{arguments.verb}: {reason}\n"
            f"The reason is in {arguments.directory}/{arguments.verb}.log, and root finds it with: journalctl --unit=criu.service"
        )
    except pycriu.CRIUException as error:
        # No connection, or a connection that ended without a reply.
        sys.exit(f"{error}\nStart the service with: systemctl start criu.socket")


if __name__ == "__main__":
    main()
