/* holder: acquires the things that the lines on its standard input name, first as root, which may,
 * and then as another user. It answers each line with `ok VALUE` or `error ERRNO`. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

static int obey_all(void);

static int become(uid_t id)
{
	if (setgroups(0, NULL) || setresgid(id, id, id) || setresuid(id, id, id))
		return -1;
	/* Dumpable, like a process that its user has started. */
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static long map(int fd, const char *how)
{
	int protection = strchr(how, 'w') ? PROT_READ | PROT_WRITE : PROT_READ;

	return (long)mmap(NULL, 4096, protection, strchr(how, 'p') ? MAP_PRIVATE : MAP_SHARED, fd, 0);
}

/* A segment that goes with its last process. */
static long segment(int mode)
{
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | mode);
	void *address = id < 0 ? (void *)-1 : shmat(id, NULL, 0);

	if (id >= 0)
		shmctl(id, IPC_RMID, NULL);
	return (long)address;
}

/* In the queue of one end of a new pair of sockets. */
static int send_away(int passed)
{
	int pair[2];
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &passed, sizeof(int));
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || sendmsg(pair[0], &message, 0) < 0)
		return -1;
	return close(passed);
}

/* One of each kind of object that the kernel makes for every user. */
static int objects(void)
{
	int pipes[2], pair[2];
	sigset_t none;

	sigemptyset(&none);
	if (pipe(pipes) || socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) || socket(AF_INET, SOCK_STREAM, 0) < 0)
		return -1;
	if (epoll_create1(0) < 0 || eventfd(0, 0) < 0 || timerfd_create(CLOCK_MONOTONIC, 0) < 0)
		return -1;
	if (signalfd(-1, &none, 0) < 0 || inotify_init1(0) < 0 || syscall(SYS_pidfd_open, getpid(), 0) < 0)
		return -1;
	return open("/proc/self/ns/net", O_RDONLY);
}

struct apart {
	int flags;
	const char *path;
	int done[2];
};

/* A thread with its own table of descriptors or its own working directory. */
static void *be_apart(void *data)
{
	const struct apart *apart = data;
	int failure = unshare(apart->flags < 0 ? CLONE_FS : CLONE_FILES);

	if (!failure)
		failure = apart->flags < 0 ? chdir(apart->path) : open(apart->path, apart->flags) < 0 ? -1 : 0;
	failure = failure ? errno : 0;
	if (write(apart->done[1], &failure, sizeof(failure)) < 0)
		abort();
	for (;;)
		pause();
}

static int apart(int flags, const char *path)
{
	struct apart apart = { .flags = flags, .path = path };
	pthread_t thread;
	int failure = 0;

	if (pipe(apart.done) || pthread_create(&thread, NULL, be_apart, &apart))
		return -1;
	if (read(apart.done[0], &failure, sizeof(failure)) < 0)
		return -1;
	close(apart.done[0]);
	close(apart.done[1]);
	errno = failure;
	return failure ? -1 : 0;
}

static void *obey_in_a_thread(void *data)
{
	(void)data;
	exit(obey_all());
}

/* Its first thread exits, and another thread goes on. */
static int leave(void)
{
	pthread_t thread;

	printf("ok 0\n");
	fflush(stdout);
	if (pthread_create(&thread, NULL, obey_in_a_thread, NULL))
		return -1;
	pthread_exit(NULL);
}

static long obey(char **word)
{
	const char *verb = word[0];

	if (strcmp(verb, "open") == 0)
		return open(word[2], atoi(word[1]), 0600);
	if (strcmp(verb, "memfd") == 0) {
		int fd = memfd_create("held", 0);

		return fd < 0 || ftruncate(fd, 4096) ? -1 : fd;
	}
	if (strcmp(verb, "map") == 0)
		return map(atoi(word[1]), word[2]);
	if (strcmp(verb, "anonymous") == 0)
		return (long)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (strcmp(verb, "segment") == 0)
		return segment((int)strtol(word[1], NULL, 8));
	if (strcmp(verb, "send-away") == 0)
		return send_away(atoi(word[1]));
	if (strcmp(verb, "objects") == 0)
		return objects();
	if (strcmp(verb, "apart") == 0)
		return apart(atoi(word[1]), word[2]);
	if (strcmp(verb, "chdir") == 0)
		return chdir(word[1]);
	if (strcmp(verb, "close") == 0)
		return close(atoi(word[1]));
	if (strcmp(verb, "become") == 0)
		return become((uid_t)atoi(word[1]));
	if (strcmp(verb, "undumpable") == 0)
		return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (strcmp(verb, "leave") == 0)
		return leave();
	errno = EINVAL;
	return -1;
}

static int obey_all(void)
{
	char line[8192], *word[4];

	while (fgets(line, sizeof(line), stdin)) {
		int count = 0;
		long value;

		for (char *next = strtok(line, " \n"); next && count < 4; next = strtok(NULL, " \n"))
			word[count++] = next;
		value = count > 0 ? obey(word) : -1;
		if (value == -1)
			printf("error %d\n", errno);
		else
			printf("ok %ld\n", value);
		fflush(stdout);
	}
	return 0;
}

int main(void)
{
	return obey_all();
}
