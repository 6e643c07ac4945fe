"""A process that does what it is told, and says what the limits of its unit left of it. Its words are the names of files.

limited.py DIRECTORY: prints the pid of the process.
"""
import os, socket, sys, time

directory = sys.argv[1]
pid = os.fork()
if pid:
    print(pid, flush=True)
    os._exit(0)
os.setsid()
null = os.open("/dev/null", os.O_RDWR)
for fd in (0, 1, 2):
    os.dup2(null, fd)
os.closerange(3, 256)


def allocate():
    kept = []
    for _ in range(300):
        kept.append(bytearray(b"x") * (1 << 20))
    return "allocated"


def fork():
    children = []
    try:
        for _ in range(200):
            child = os.fork()
            if child == 0:
                time.sleep(1000)
                os._exit(0)
            children.append(child)
    except OSError as error:
        return "errno %d" % error.errno
    finally:
        for child in children:
            os.kill(child, 9)
        for child in children:
            os.waitpid(child, 0)
    return "forked"


def send():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(b"x", ("127.0.0.1", 9))
        except OSError as error:
            return "errno %d" % error.errno
    return "sent"


def device():
    try:
        os.close(os.open("/dev/full", os.O_RDONLY))
    except OSError as error:
        return "errno %d" % error.errno
    return "opened"


def processors():
    return ",".join(map(str, sorted(os.sched_getaffinity(0))))


orders = {"allocate": allocate, "fork": fork, "send": send, "device": device, "processors": processors}
while True:
    for name, order in orders.items():
        path = os.path.join(directory, name)
        if os.path.exists(path):
            os.unlink(path)
            said = order()
            with open(path + ".part", "w") as file:
                file.write(said)
            os.rename(path + ".part", path + ".said")
    time.sleep(0.02)
