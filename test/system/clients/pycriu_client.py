#!/usr/bin/python3
"""Debian's pycriu, unmodified, talking to the service: pycriu_client.py ADDRESS VERB ARGUMENT...

ADDRESS is the path of a socket, or the name of a criu that is started for each request.

Each verb prints a JSON object. Requests for which pycriu's class has a method go through that method; the others (VERSION,
FEATURE_CHECK, PAGE_SERVER and the PRE_DUMP loop) through pycriu's own messages on a socket, as in CRIU's tests.
"""
import ctypes
import json
import os
import socket
import subprocess
import sys

import pycriu
from pycriu import rpc

ADDRESS = sys.argv[1]
STARTS = os.path.basename(ADDRESS) == "criu"


def client(directory=None, log="pycriu.log"):
    c = pycriu.criu()
    if STARTS:
        c.use_binary(ADDRESS)
    else:
        c.use_sk(ADDRESS)
    c.opts.log_level = 4
    c.opts.log_file = log
    if directory is not None:
        c.opts.images_dir_fd = os.open(directory, os.O_DIRECTORY)
    return c


def connect():
    if STARTS:
        s, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            subprocess.Popen([ADDRESS, "swrk", str(theirs.fileno())], pass_fds=[theirs.fileno()])
    else:
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.connect(ADDRESS)
    s.settimeout(120)
    return s


def ask(s, request):
    s.send(request.SerializeToString())
    packet = s.recv(1024)
    return rpc.criu_resp.FromString(packet)


def request(kind, directory=None, **options):
    r = rpc.criu_req(type=kind)
    if directory is not None:
        r.opts.images_dir_fd = os.open(directory, os.O_DIRECTORY)
    for name, value in options.items():
        setattr(r.opts, name, value)
    return r


def check(directory):
    client(directory).check()
    return {}


def version():
    v = ask(connect(), request(rpc.VERSION)).version
    return {"major": v.major_number, "minor": v.minor_number}


def features():
    r = rpc.criu_req(type=rpc.FEATURE_CHECK)
    r.features.mem_track = True
    r.features.lazy_pages = True
    r.features.pidfd_store = True
    reply = ask(connect(), r)
    f = reply.features
    return {"success": reply.success, "mem_track": f.mem_track, "pidfd_store": f.pidfd_store}


def dump(pid, directory, *flags):
    c = client(directory)
    c.opts.pid = int(pid)
    c.opts.leave_running = "leave-running" in flags
    return {"restored": c.dump().restored}


def restore(directory, *flags):
    c = client(directory, "restore.log")
    if "ignore-cgroups" in flags:
        c.opts.manage_cgroups_mode = rpc.IGNORE
    return {"pid": c.restore().pid}


def dump_and_restore(pid, directory):
    """In a single process, for a caller whose mount namespace ends with it."""
    os.makedirs(directory)
    dump(pid, directory)
    files = os.listdir(directory)
    # CRIU mounts its cgroup yard in the work directory, which a process may do only in its own mount namespace.
    return {"files": files, **restore(directory, "ignore-cgroups")}


def single_pre_dump(pid, directory):
    reply = ask(connect(), request(rpc.SINGLE_PRE_DUMP, directory, pid=int(pid), track_mem=True))
    return {"type": reply.type, "success": reply.success}


def pre_dump(pid, directory):
    """pycriu's own pre_dump(), which closes the connection after the first round of the loop."""
    c = client(directory)
    c.opts.pid = int(pid)
    c.opts.track_mem = True
    c.pre_dump()
    return {}


def pre_dump_loop(pid, directory, rounds):
    s = connect()
    replies = []
    for i in range(1, int(rounds) + 2):
        os.mkdir(f"{directory}/{i}")
        last = i == int(rounds) + 1
        r = request(rpc.DUMP if last else rpc.PRE_DUMP, f"{directory}/{i}", pid=int(pid), track_mem=True, log_level=4)
        if i > 1:
            r.opts.parent_img = f"../{i - 1}"
        reply = ask(s, r)
        replies.append([reply.type, reply.success])
        if not reply.success:
            break
    return {"replies": replies}


def page_server(pid, directory):
    """The server is requested on a connection that is closed before the dump comes on another."""
    s = connect()
    r = request(rpc.PAGE_SERVER, directory, log_file="page-server.log", log_level=4)
    r.opts.ps.address = "127.0.0.1"
    r.opts.ps.port = 0
    reply = ask(s, r)
    s.close()
    if not reply.success:
        return {"success": False, "cr_errno": reply.cr_errno, "cr_errmsg": reply.cr_errmsg}
    c = client(directory)
    c.opts.pid = int(pid)
    c.opts.ps.address = "127.0.0.1"
    c.opts.ps.port = reply.ps.port
    c.dump()
    return {"success": True, "port": reply.ps.port}


def page_server_child(pid, directory):
    """pycriu's page_server_chld() and wait_pid(): a dialog on one connection, and a dump on another meanwhile."""
    c = client(directory, "page-server.log")
    c.opts.ps.address = "127.0.0.1"
    c.opts.ps.port = 0
    ps = c.page_server_chld()
    d = client(directory)
    d.opts.pid = int(pid)
    d.opts.ps.address = "127.0.0.1"
    d.opts.ps.port = ps.port
    d.dump()
    return {"port": ps.port, "status": c.wait_pid(ps.pid)}


def notified(s, r):
    """Sends a request, acknowledges all notifications, returns their names, the descriptors that came along, the reply."""
    s.send(r.SerializeToString())
    scripts, received = [], []
    while True:
        packet, fds, _flags, _address = socket.recv_fds(s, 1024, 4)
        reply = rpc.criu_resp.FromString(packet)
        if reply.type != rpc.NOTIFY:
            return scripts, received, reply
        scripts.append(reply.notify.script)
        received += fds
        s.send(rpc.criu_req(type=rpc.NOTIFY, notify_success=True).SerializeToString())


def notifications(pid, directory):
    dumped = request(rpc.DUMP, directory, pid=int(pid), notify_scripts=True, log_level=4)
    dump_scripts, _, dump_reply = notified(connect(), dumped)
    restored = request(rpc.RESTORE, directory, notify_scripts=True, log_level=4, log_file="restore.log")
    restore_scripts, _, restore_reply = notified(connect(), restored)
    return {
        "dump": {"scripts": dump_scripts, "success": dump_reply.success},
        "restore": {"scripts": restore_scripts, "success": restore_reply.success, "pid": restore_reply.restore.pid},
    }


def echo(master, word):
    """Writes a word; returns the echo of the terminal and then the output of its cat."""
    os.write(master, word + b"\n")
    answer = b""
    while answer.count(word + b"\r\n") < 2:
        answer += os.read(master, 1024)
    return answer


def orphan_terminal(directory):
    """Restores a process on a terminal whose master was outside of the dump: it gets a new terminal, and the caller gets its
    master.
    """
    import pty

    pid, master = pty.fork()
    if pid == 0:
        if os.getuid() != 0:
            # A container's bounding set lacks capabilities, so that only a process with no_new_privs can be restored.
            ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
        os.execv("/bin/cat", ["cat"])
    echo(master, b"before")
    dumped = request(rpc.DUMP, directory, pid=pid, orphan_pts_master=True, log_level=4)
    reply = ask(connect(), dumped)
    if not reply.success:
        return {"dump": False, "cr_errmsg": reply.cr_errmsg}
    os.waitpid(pid, 0)
    os.close(master)
    restored = request(
        rpc.RESTORE, directory, notify_scripts=True, orphan_pts_master=True, log_level=4, log_file="restore.log"
    )
    scripts, fds, reply = notified(connect(), restored)
    answer = b""
    if reply.success and fds:
        answer = echo(fds[0], b"after")
        os.kill(reply.restore.pid, 9)
    return {
        "dump": True,
        "scripts": scripts,
        "fds": len(fds),
        "restored": reply.success,
        "cr_errmsg": reply.cr_errmsg,
        "answer": answer.decode(),
    }


def own_child(directory, *flags):
    """Asks for a dump of a child of this process, which runs on; the child may have named anybody as its tracer."""

    def prepare():
        if "named" in flags:
            ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)

    null = subprocess.DEVNULL
    argv = ["sleep", "600"]
    child = subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True, preexec_fn=prepare)
    reply = ask(connect(), request(rpc.DUMP, directory, pid=child.pid, leave_running=True, log_level=4))
    runs_on = child.poll() is None
    child.kill()
    return {"success": reply.success, "runs_on": runs_on, "cr_errmsg": reply.cr_errmsg}


def every_type(pid):
    """The answer to each request type, and whether the connection is then closed: these requests are not for an unprivileged
    caller.
    """
    replies = {}
    for name, kind in rpc.criu_req_type.items():
        s = connect()
        if kind == rpc.VERSION:
            r = request(kind)
        elif kind == rpc.FEATURE_CHECK:
            r = request(kind)
            r.features.mem_track = True
        else:
            # A process of another user, and a file of options that only root may name.
            r = request(kind, "/tmp", pid=int(pid), config_file="/nonexistent")
        reply = ask(s, r)
        replies[name] = {
            "type": rpc.criu_req_type.Name(reply.type),
            "success": reply.success,
            "cr_errno": reply.cr_errno,
            "cr_errmsg": reply.cr_errmsg,
            "closed": s.recv(1024) == b"",
        }
    return {"pid": os.getpid(), "replies": replies}


verb = globals()[sys.argv[2].replace("-", "_")]
print(json.dumps(verb(*sys.argv[3:])))
