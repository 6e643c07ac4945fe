/*
 * Processes to be dumped. Each prints its pid when it is ready, and counts into FILE.
 *
 *   targets family UID CHILD_UID FILE    with a child under another uid; to be started by root
 *   targets forest CHILDREN THREADS CHILD_UID UID FILE
 *                                        with CHILDREN children of so many threads, the first of which has another uid
 *   targets undumpable FILE              which only a privileged process may trace
 *   targets breathe [filtered|baited|stopping] FILE
 *                                        makes FILE over and over, in two threads: each instruction of it leaves a trace;
 *                                        filtered: capset(2) does nothing and reports success;
 *                                        baited: with FILE.empty and FILE.page open to read and write;
 *                                        stopping: SIGSTOP for the process that the link FILE.aim names
 *   targets comet FILE                   makes FILE as soon as it holds CAP_CHECKPOINT_RESTORE, then forks and exits all the time,
 *                                        until FILE.stop exists
 *   targets tree FILE                    three processes and a thread; the count goes through a pipe and shared memory
 *   targets keyring FILE                 which does not count: in FILE is the serial number of its session keyring
 *   targets timeless FILE                which enters one new time namespace after another; needs CAP_SYS_ADMIN
 *   targets at PID FILE                  under a pid that is free; to be started by root
 */
#define _GNU_SOURCE
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "daemonize.h"
#include "counting.h"

static int counting_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || pwrite(fd, "00000000000000000000\n", 21, 0) != 21) {
		perror(path);
		exit(1);
	}
	return fd;
}

/* A process that has changed its uid is not dumpable until it says so. */
static void become(const char *uid)
{
	uid_t id = atoi(uid);

	if (setresgid(id, id, id) || setresuid(id, id, id) || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
		exit(1);
}

static void family(const char *uid, const char *child_uid, const char *file)
{
	int fd, grown[2];
	char byte;

	daemonize();
	fd = counting_file(file);
	if (pipe(grown))
		exit(1);
	if (fork() == 0) {
		close(fd);
		close(ready_pipe[1]);
		close(0), close(1), close(2);
		become(child_uid);
		if (write(grown[1], "", 1) != 1)
			exit(1);
		close(grown[0]), close(grown[1]);
		for (;;)
			pause();
	}
	if (read(grown[0], &byte, 1) != 1)
		exit(1);
	close(grown[0]), close(grown[1]);
	become(uid);
	ready();
	count_into(fd);
}

static void *idle(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static void grow(int grown, int threads, const char *uid)
{
	pthread_attr_t attributes;
	pthread_t thread;

	close(ready_pipe[1]), close(0), close(1), close(2);
	become(uid);
	/* Ends with its parent: the test knows only the parent's pid. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 16384);
	while (--threads > 0) {
		if (pthread_create(&thread, &attributes, idle, NULL))
			exit(1);
	}
	write(grown, "", 1);
	close(grown);
	idle(NULL);
}

static void forest(int children, int threads, const char *child_uid, const char *uid, const char *file)
{
	int fd, grown[2], i;
	char byte;

	daemonize();
	fd = counting_file(file);
	if (pipe(grown))
		exit(1);
	for (i = 0; i < children; i++) {
		if (fork() == 0)
			grow(grown[1], threads, i == 0 ? child_uid : uid);
	}
	for (i = 0; i < children; i++) {
		if (read(grown[0], &byte, 1) != 1)
			exit(1);
	}
	become(uid);
	ready();
	count_into(fd);
}

/* Writes the serial number of its session keyring in place of a count. */
static void keyring(const char *file)
{
	char line[32];
	int fd;

	daemonize();
	fd = counting_file(file);
	ready();
	for (;; usleep(10000)) {
		snprintf(line, sizeof(line), "%020ld\n",
			 syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
		if (pwrite(fd, line, 21, 0) != 21)
			exit(1);
	}
}

static void undumpable(const char *file)
{
	int fd;

	daemonize();
	fd = counting_file(file);
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		exit(1);
	ready();
	count_into(fd);
}

static int is_stopping;

static void stop_aim(const char *file)
{
	char path[4096], aim[32];
	ssize_t size;

	snprintf(path, sizeof(path), "%s.aim", file);
	size = readlink(path, aim, sizeof(aim) - 1);
	if (size <= 0)
		return;
	aim[size] = 0;
	kill(atoi(aim), SIGSTOP);
}

static void *breathe(void *file)
{
	const struct timespec pause = { .tv_nsec = is_stopping ? 1000 : 2 * 1000 * 1000 };

	for (;;) {
		/* A directory, because an open file would be part of the images and would have to exist at the restore. */
		if (is_stopping)
			stop_aim(file);
		mkdir(file, 0755);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static int filter_capset(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_capset, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 4, code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* Files with the mode and size of a process's memory (0 bytes) and of a segment of shared memory. */
static int take_baits(const char *file)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s.empty", file);
	if (open(path, O_RDWR | O_CREAT, 0600) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s.page", file);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	return fd < 0 ? -1 : ftruncate(fd, 4096) || fchmod(fd, 0777);
}

static void breathing(const char *file, const char *how)
{
	pthread_t second;

	daemonize();
	is_stopping = strcmp(how, "stopping") == 0;
	if ((strcmp(how, "filtered") == 0 && filter_capset()) || (strcmp(how, "baited") == 0 && take_baits(file)) || pthread_create(&second, NULL, breathe, (void *)file))
		exit(1);
	while (access(file, F_OK))
		usleep(1000);
	ready();
	breathe((void *)file);
}

static int holds_capability(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	return syscall(SYS_capget, &header, data) == 0 && data[1].effective & 1 << (CAP_CHECKPOINT_RESTORE - 32);
}

static void comet(const char *file)
{
	char stop[4096];

	snprintf(stop, sizeof(stop), "%s.stop", file);
	daemonize();
	ready();
	while (!holds_capability())
		usleep(1000);
	mkdir(file, 0755);
	while (access(stop, F_OK))
		if (fork() > 0)
			_exit(0);
	_exit(0);
}

static volatile unsigned long *shared;
static const struct timespec moment = { .tv_nsec = 5 * 1000 * 1000 };

static void *pass_on(void *unused)
{
	for (;; nanosleep(&moment, NULL))
		shared[2] = shared[1];
	return unused;
}

static void tree(const char *file)
{
	pthread_t thread;
	int fd, ends[2];
	char line[32];

	daemonize();
	fd = counting_file(file);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || pipe(ends))
		exit(1);
	if (fork() == 0) {
		close(ready_pipe[1]), close(0), close(1), close(2);
		for (;; nanosleep(&moment, NULL)) {
			unsigned long next = ++shared[0];

			if (write(ends[1], &next, sizeof(next)) != sizeof(next))
				exit(1);
		}
	}
	if (fork() == 0) {
		unsigned long next;

		close(ready_pipe[1]), close(0), close(1), close(2);
		while (read(ends[0], &next, sizeof(next)) == sizeof(next))
			shared[1] = next;
		exit(1);
	}
	if (pthread_create(&thread, NULL, pass_on, NULL))
		exit(1);
	ready();
	for (;; nanosleep(&moment, NULL)) {
		snprintf(line, sizeof(line), "%020lu\n", shared[2]);
		if (pwrite(fd, line, 21, 0) != 21)
			exit(1);
	}
}

/* Executing a program enters the namespace that unshare(2) has made for children (Linux 6.3). */
static void timeless_at(const char *descriptor, unsigned long n)
{
	const struct timespec moment = { .tv_nsec = 1000 * 1000 };
	char line[32], next[32];

	snprintf(line, sizeof(line), "%020lu\n", n);
	if (pwrite(atoi(descriptor), line, 21, 0) != 21)
		exit(1);
	nanosleep(&moment, NULL);
	if (unshare(CLONE_NEWTIME))
		exit(1);
	nanosleep(&moment, NULL);
	snprintf(next, sizeof(next), "%lu", n + 1);
	execl("/proc/self/exe", "targets", "timeless-at", descriptor, next, NULL);
	exit(1);
}

static void timeless(const char *file)
{
	char descriptor[16];
	int fd;

	daemonize();
	fd = counting_file(file);
	fcntl(fd, F_SETFD, 0);
	snprintf(descriptor, sizeof(descriptor), "%d", fd);
	ready();
	timeless_at(descriptor, 1);
}

static int at(pid_t pid, const char *file)
{
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = 1 };
	int fd = counting_file(file);
	long child = syscall(SYS_clone3, &args, sizeof(args));

	if (child < 0) {
		perror("clone3");
		return 1;
	}
	if (child > 0) {
		printf("%d\n", (int)pid);
		return 0;
	}
	setsid();
	dup2(open("/dev/null", O_RDWR), 0), dup2(0, 1), dup2(0, 2);
	count_into(fd);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "family") == 0)
		family(argv[2], argv[3], argv[4]);
	if (argc == 7 && strcmp(argv[1], "forest") == 0)
		forest(atoi(argv[2]), atoi(argv[3]), argv[4], argv[5], argv[6]);
	if (argc == 3 && strcmp(argv[1], "keyring") == 0)
		keyring(argv[2]);
	if (argc == 3 && strcmp(argv[1], "undumpable") == 0)
		undumpable(argv[2]);
	if (argc == 3 && strcmp(argv[1], "tree") == 0)
		tree(argv[2]);
	if (argc == 3 && strcmp(argv[1], "comet") == 0)
		comet(argv[2]);
	if (argc >= 3 && strcmp(argv[1], "breathe") == 0)
		breathing(argv[argc - 1], argc == 4 ? argv[2] : "");
	if (argc == 3 && strcmp(argv[1], "timeless") == 0)
		timeless(argv[2]);
	if (argc == 4 && strcmp(argv[1], "timeless-at") == 0)
		timeless_at(argv[2], strtoul(argv[3], NULL, 10));
	if (argc == 4 && strcmp(argv[1], "at") == 0)
		return at(atoi(argv[2]), argv[3]);
	return 2;
}
