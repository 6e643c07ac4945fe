/*
 * belongings KIND FILE: a process that holds files of this kind, all by its own right, and counts into FILE. Files of its own lie
 * beside FILE.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <libgen.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include "daemonize.h"
#include "counting.h"

static char beside[64];

/* Exits with a message if the call failed. */
static long must(long value, const char *what)
{
	if (value == -1) {
		perror(what);
		exit(1);
	}
	return value;
}

static const char *place(const char *name)
{
	static char path[96];

	snprintf(path, sizeof(path), "%s/%s", beside, name);
	return path;
}

static int file(const char *name, int flags)
{
	int fd = must(open(place(name), O_RDWR | O_CREAT, 0600), name);

	must(ftruncate(fd, 8192), "ftruncate");
	close(fd);
	return must(open(place(name), flags), name);
}

static void map(int fd, int protection, int flags)
{
	must((long)mmap(NULL, 8192, protection, flags, fd, 0), "mmap");
}

static void files(void)
{
	file("read", O_RDONLY);
	file("written", O_WRONLY | O_APPEND);
	must(flock(file("locked", O_RDWR), LOCK_EX), "flock");
	file("found", O_PATH);
	must(open(beside, O_RDONLY | O_DIRECTORY), "open");
	must(open("/etc/passwd", O_RDONLY), "open");
	must(open("/", O_RDONLY | O_DIRECTORY), "open");
}

static void mappings(void)
{
	int fd = file("mapped", O_RDWR);

	map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	map(fd, PROT_READ, MAP_SHARED);
	map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	close(fd);
	fd = must(open("/etc/passwd", O_RDONLY), "open");
	must((long)mmap(NULL, 100, PROT_READ, MAP_SHARED, fd, 0), "mmap");
	close(fd);
}

static void deleted(void)
{
	int fd = file("deleted", O_RDWR);

	unlink(place("deleted"));
	map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	fd = file("deleted-mapping", O_RDWR);
	map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	close(fd);
	unlink(place("deleted-mapping"));
}

static void memory(void)
{
	int fd = must(memfd_create("belonging", MFD_ALLOW_SEALING), "memfd_create");

	must(ftruncate(fd, 8192), "ftruncate");
	map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	map(-1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	fd = must(shm_open("/belongings", O_RDWR | O_CREAT | O_EXCL, 0600), "shm_open");
	must(ftruncate(fd, 8192), "ftruncate");
	map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	shm_unlink("/belongings");
}

static void pipes(void)
{
	int ends[2];

	must(pipe(ends), "pipe");
	must(write(ends[1], "on its way", 10), "write");
	unlink(place("fifo"));
	must(mkfifo(place("fifo"), 0600), "mkfifo");
	must(open(place("fifo"), O_RDWR), "open");
}

static void sockets(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int ends[2], fd;

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
	must(write(ends[1], "on its way", 10), "write");
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), "socketpair");
	fd = must(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
	snprintf(name.sun_path, sizeof(name.sun_path), "%s", place("socket"));
	unlink(name.sun_path);
	must(bind(fd, (struct sockaddr *)&name, sizeof(name)), "bind");
	must(listen(fd, 5), "listen");
}

static void events(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct itimerspec time = { .it_value.tv_sec = 1000 };
	int set = must(epoll_create1(0), "epoll_create1"), fd;
	sigset_t signals;

	fd = must(eventfd(3, 0), "eventfd");
	must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
	fd = must(timerfd_create(CLOCK_MONOTONIC, 0), "timerfd_create");
	must(timerfd_settime(fd, 0, &time, NULL), "timerfd_settime");
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	must(signalfd(-1, &signals, 0), "signalfd");
}

static void devices(void)
{
	const char *const names[] = { "/dev/null", "/dev/zero", "/dev/urandom", "/dev/full" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		must(open(names[i], O_RDWR), names[i]);
	map(must(open("/dev/zero", O_RDWR), "open"), PROT_READ | PROT_WRITE, MAP_PRIVATE);
}

static void terminal(void)
{
	int master, slave;

	must(openpty(&master, &slave, NULL, NULL, NULL), "openpty");
}

static void processes(void)
{
	char path[64];
	pid_t child = must(fork(), "fork");

	if (child == 0) {
		close(ready_pipe[1]);
		close(0), close(1), close(2);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	must(open("/proc/self/stat", O_RDONLY), "open");
	must(open("/proc/self", O_RDONLY | O_DIRECTORY), "open");
	must(open("/proc/self/maps", O_RDONLY), "open");
	must(open("/proc/meminfo", O_RDONLY), "open");
	must(open("/proc/sys/kernel/ostype", O_RDONLY), "open");
	snprintf(path, sizeof(path), "/proc/%d/status", child);
	must(open(path, O_RDONLY), "open");
	must(open("/proc/1/stat", O_RDONLY), "open");
}

static void pidfd(void)
{
	must(syscall(SYS_pidfd_open, getpid(), 0), "pidfd_open");
}

static void aio(void)
{
	aio_context_t context = 0;

	must(syscall(SYS_io_setup, 16, &context), "io_setup");
}

static void workplace(void)
{
	must(mkdir(place("work"), 0700), "mkdir");
	must(chdir(place("work")), "chdir");
}

static void deleted_workplace(void)
{
	workplace();
	must(rmdir(place("work")), "rmdir");
}

static void *idle(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static void threads(void)
{
	pthread_t thread;

	for (int i = 0; i < 4; i++)
		must(pthread_create(&thread, NULL, idle, NULL) ? -1 : 0, "pthread_create");
}

static const struct {
	const char *name;
	void (*hold)(void);
} kinds[] = {
	{ "files", files }, { "mappings", mappings }, { "deleted", deleted }, { "memory", memory },
	{ "pipes", pipes }, { "sockets", sockets }, { "events", events },
	{ "devices", devices }, { "terminal", terminal }, { "processes", processes }, { "pidfd", pidfd },
	{ "aio", aio }, { "workplace", workplace }, { "deleted-workplace", deleted_workplace }, { "threads", threads },
};

int main(int argc, char **argv)
{
	int fd;

	if (argc < 3)
		return 2;
	snprintf(beside, sizeof(beside), "%s", argv[2]);
	dirname(beside);
	daemonize();
	fd = must(open(argv[2], O_RDWR | O_CREAT | O_TRUNC, 0600), argv[2]);
	must(write(fd, "00000000000000000000\n", 21), "write");
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (strcmp(kinds[i].name, argv[1]) == 0) {
			kinds[i].hold();
			ready();
			count_into(fd);
		}
	return 2;
}
