/*
 * attacker: makes system calls on demand. Each line on descriptor 3 is a command; the answer is a line on its standard output,
 * `ok VALUE` or `error ERRNO`. It runs with the rights of its starter, and changes them on demand.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>

enum { max_words = 64, max_packet = 2 << 20 };

static char line[2 * max_packet + 4096];
static unsigned char packet[max_packet];
static char *words[max_words];

static void answer(long value)
{
	if (value < 0)
		printf("error %d\n", errno);
	else
		printf("ok %ld\n", value);
	fflush(stdout);
}

static int at(int fd, const char *number)
{
	int target = atoi(number);

	if (fd < 0 || fd == target)
		return fd;
	if (dup2(fd, target) < 0)
		return -1;
	close(fd);
	return target;
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Digit by digit: each sscanf(3) would search for the end of the whole string. */
static size_t from_hex(const char *hex, unsigned char *out)
{
	size_t n = 0;

	for (; digit(hex[0]) >= 0 && digit(hex[1]) >= 0; hex += 2)
		out[n++] = (unsigned char)(digit(hex[0]) << 4 | digit(hex[1]));
	return n;
}

/* connect FD PATH [NAME]: binds our own end to NAME, in hexadecimal, in the abstract namespace. */
static int connect_to(const char *number, const char *path, const char *name)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX }, own = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	if (fd < 0)
		return -1;
	if (name) {
		size_t length = from_hex(name, (unsigned char *)own.sun_path + 1);

		if (bind(fd, (struct sockaddr *)&own, offsetof(struct sockaddr_un, sun_path) + 1 + length))
			return -1;
	}
	strncpy(to.sun_path, path, sizeof(to.sun_path) - 1);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		return -1;
	return at(fd, number);
}

/* many COUNT PATH: makes so many silent connections, held until we exit. */
static long many(int count, const char *path)
{
	struct rlimit limit = { .rlim_cur = count + 100, .rlim_max = count + 100 };
	int i;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (i = 0; i < count; i++) {
		struct sockaddr_un to = { .sun_family = AF_UNIX };
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);

		strncpy(to.sun_path, path, sizeof(to.sun_path) - 1);
		if (fd < 0)
			return i;
		while (connect(fd, (struct sockaddr *)&to, sizeof(to))) {
			if (errno != EAGAIN)
				return i;
			usleep(1000);
		}
	}
	return i;
}

/* A TCP connection over the loopback whose peer never reads: close(2) waits for it, as long as SO_LINGER says. */
static int lingering(const char *number, int seconds)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct linger linger = { .l_onoff = 1, .l_linger = seconds };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
	static char filling[65536];

	if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &length) ||
	    connect(fd, (struct sockaddr *)&address, length) ||
	    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) || accept(listener, NULL, NULL) < 0)
		return -1;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (send(fd, filling, sizeof(filling), 0) > 0)
		;
	/* A socket that does not block does not linger either. */
	fcntl(fd, F_SETFL, 0);
	return at(fd, number);
}

/* send FD HEX [PASSED...] */
static long send_packet(int fd, const char *hex, char **passed)
{
	size_t size = from_hex(hex, packet);
	struct iovec data = { packet, size };
	char control[CMSG_SPACE(sizeof(int) * max_words)] = { 0 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1 };
	int count = 0;

	while (passed[count])
		count++;
	if (count > 0) {
		struct cmsghdr *header = (struct cmsghdr *)control;
		int i;

		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int) * count);
		for (i = 0; i < count; i++)
			((int *)CMSG_DATA(header))[i] = atoi(passed[i]);
	}
	return sendmsg(fd, &message, MSG_NOSIGNAL);
}

static void receive(int fd)
{
	ssize_t size = recv(fd, packet, sizeof(packet), 0), i;

	if (size < 0 && errno != ECONNRESET) {
		answer(-1);
		return;
	}
	printf(size > 0 ? "ok " : "ok closed");
	for (i = 0; i < size; i++)
		printf("%02x", packet[i]);
	printf("\n");
	fflush(stdout);
}

static int become(uid_t uid, gid_t gid)
{
	if (setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		return -1;
	return 0;
}

static int filter(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { 1, &allow };

	/* Root may install a filter without no_new_privs. */
	if (geteuid() != 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int landlock(void)
{
	struct landlock_ruleset_attr rules = { .handled_access_fs = LANDLOCK_ACCESS_FS_WRITE_FILE };
	int ruleset = syscall(SYS_landlock_create_ruleset, &rules, sizeof(rules), 0);

	if (ruleset < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return syscall(SYS_landlock_restrict_self, ruleset, 0);
}

static int thread_result;
static pthread_barrier_t started;

static void *other_thread(void *what)
{
	if (strcmp(what, "filter") == 0)
		thread_result = filter();
	else if (strcmp(what, "become-alice") == 0)
		/* The raw system call: glibc's function changes every thread. */
		thread_result = syscall(SYS_setresuid, 1500, 1500, 1500);
	pthread_barrier_wait(&started);
	for (;;)
		pause();
	return NULL;
}

static int thread(char *what)
{
	pthread_t id;

	pthread_barrier_init(&started, NULL, 2);
	if (pthread_create(&id, NULL, other_thread, strdup(what)))
		return -1;
	pthread_barrier_wait(&started);
	return thread_result;
}

static void *idle(void *unused)
{
	for (;;)
		pause();
	return unused;
}

/* threads COUNT: starts so many more threads, with the smallest stacks. */
static int threads(int count)
{
	pthread_attr_t attributes;
	pthread_t id;
	int error;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 16384);
	for (; count > 0; count--) {
		if ((error = pthread_create(&id, &attributes, idle, NULL))) {
			errno = error;
			return -1;
		}
	}
	return 0;
}

static void *moment(void *unused)
{
	usleep(1000);
	return unused;
}

static void *replace(void *unused)
{
	pthread_t id;

	for (;;)
		if (pthread_create(&id, NULL, moment, NULL) == 0)
			pthread_join(id, NULL);
	return unused;
}

/* churn COUNT: starts so many threads that replace a short-lived thread all the time. */
static int churn(int count)
{
	pthread_t id;
	int error;

	for (; count > 0; count--) {
		if ((error = pthread_create(&id, NULL, replace, NULL))) {
			errno = error;
			return -1;
		}
	}
	return 0;
}

/* pending FD: whether a message can be received. */
static int pending(int fd)
{
	ssize_t size = recv(fd, packet, sizeof(packet), MSG_PEEK | MSG_DONTWAIT);

	if (size < 0)
		return errno == EAGAIN ? 0 : -1;
	return 1;
}

/* map PATH: writes into a mapping of a file; the next execve(2) ends it, and returns only after the page was written back. */
static int map(const char *path)
{
	int fd = open(path, O_RDWR);
	char *page = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (page == MAP_FAILED)
		return -1;
	page[0] = 1;
	return fd;
}

/* fork: the child obeys from here on, for example as the first process of a new pid namespace. */
static int go_on_in_a_child(void)
{
	pid_t pid = fork();
	int status;

	if (pid <= 0)
		return pid;
	waitpid(pid, &status, 0);
	_exit(0);
}

/*
 * leave-to-child PROGRAM: the process that connected executes a program that waits for its input, or exits if there is no such
 * program; a child of it obeys, with the same connection.
 */
static int leave_to_child(char *program)
{
	char *const argv[] = { program, NULL };
	int silent[2];
	pid_t pid = fork();

	if (pid <= 0)
		return pid;
	if (pipe(silent) == 0)
		dup2(silent[0], 0), dup2(open("/dev/null", O_RDWR), 1), dup2(1, 2);
	execv(program, argv);
	_exit(0);
}

/* reconnect-as USER PATH [DIRECTORY]: becomes a process of the user's, with DIRECTORY as its root and a new connection. */
static int reconnect_as(const char *user, const char *path, const char *directory)
{
	const struct passwd *who = getpwnam(user);
	int fd;

	if (!who || initgroups(user, who->pw_gid) || setresgid(who->pw_gid, who->pw_gid, who->pw_gid))
		return -1;
	if (directory) {
		if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
			return -1;
	}
	/* A process that changes its uid is not dumpable until it says so, and its files in /proc belong to root. */
	if (setresuid(who->pw_uid, who->pw_uid, who->pw_uid) || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
		return -1;
	fd = connect_to("100", path, NULL);
	if (fd < 0)
		return -1;
	if (directory) {
		struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
		struct __user_cap_data_struct data[2] = { { 1 << CAP_SYS_CHROOT, 1 << CAP_SYS_CHROOT, 0 } }, none[2] = { 0 };

		if (syscall(SYS_capset, &header, data) || chroot(directory) || chdir("/") ||
		    syscall(SYS_capset, &header, none) || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
			return -1;
	}
	return fd;
}

/*
 * A child that waits for our exit: the first process of a pid namespace that was made for children. It reads a pipe, because the
 * kernel sends no parent-death signal after the parent has changed its uid.
 */
static int silent_child(void)
{
	int ours[2];
	char byte;
	pid_t pid;

	if (pipe(ours) || (pid = fork()) < 0)
		return -1;
	if (pid > 0) {
		close(ours[0]);
		return pid;
	}
	dup2(ours[0], 0);
	close_range(1, ~0U, 0);
	read(0, &byte, 1);
	_exit(0);
}

static int set_groups(char **words)
{
	gid_t groups[max_words];
	int count = 0;

	for (; words[count]; count++)
		groups[count] = atoi(words[count]);
	return setgroups(count, groups);
}

/* kill-at FILE WORD PID SIGNAL: as soon as the word is in the file, which may have to be created first. */
static int kill_at(const char *path, const char *word, pid_t pid, int signal)
{
	for (;;) {
		int fd = open(path, O_RDONLY);
		ssize_t size = fd < 0 ? 0 : read(fd, packet, sizeof(packet) - 1);

		close(fd);
		packet[size > 0 ? size : 0] = 0;
		if (strstr((const char *)packet, word) || kill(pid, 0))
			return kill(pid, signal);
	}
}

static long obey(char **word, int count)
{
	const char *verb = word[0];

	if (strcmp(verb, "pid") == 0)
		return getpid();
	if (strcmp(verb, "connect") == 0)
		return connect_to(word[1], word[2], count > 3 ? word[3] : NULL);
	if (strcmp(verb, "many") == 0)
		return many(atoi(word[1]), word[2]);
	if (strcmp(verb, "open") == 0)
		return at(open(word[3], atoi(word[2]), 0600), word[1]);
	if (strcmp(verb, "linger") == 0)
		return lingering(word[1], atoi(word[2]));
	if (strcmp(verb, "send") == 0)
		return send_packet(atoi(word[1]), count > 2 ? word[2] : "", count > 2 ? word + 3 : word + 2);
	/* sndbuf FD SIZE: a send buffer for packets of that size, up to the limit for ordinary users. */
	if (strcmp(verb, "sndbuf") == 0) {
		int size = atoi(word[2]);

		return setsockopt(atoi(word[1]), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	}
	if (strcmp(verb, "close") == 0)
		return close(atoi(word[1]));
	/* Keeps the number from open(2): moving it would close(2), which sends a request to the file system. Open until execve(2). */
	if (strcmp(verb, "hold-until-exec") == 0)
		return open(word[1], O_RDONLY | O_CLOEXEC);
	if (strcmp(verb, "map") == 0)
		return map(word[1]);
	if (strcmp(verb, "chdir") == 0)
		return chdir(word[1]);
	if (strcmp(verb, "become") == 0)
		return become(atoi(word[1]), atoi(word[2]));
	if (strcmp(verb, "filter") == 0)
		return filter();
	if (strcmp(verb, "landlock") == 0)
		return landlock();
	if (strcmp(verb, "no-new-privs") == 0)
		return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (strcmp(verb, "undumpable") == 0)
		return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (strcmp(verb, "thread") == 0)
		return thread(word[1]);
	if (strcmp(verb, "threads") == 0)
		return threads(atoi(word[1]));
	if (strcmp(verb, "churn") == 0)
		return churn(atoi(word[1]));
	if (strcmp(verb, "pending") == 0)
		return pending(atoi(word[1]));
	if (strcmp(verb, "unshare") == 0)
		return unshare(atoi(word[1]));
	if (strcmp(verb, "child") == 0)
		return silent_child();
	if (strcmp(verb, "fork") == 0)
		return go_on_in_a_child();
	if (strcmp(verb, "leave-to-child") == 0)
		return leave_to_child(word[1]);
	if (strcmp(verb, "reconnect-as") == 0)
		return reconnect_as(word[1], word[2], count > 3 ? word[3] : NULL);
	if (strcmp(verb, "groups") == 0)
		return set_groups(word + 1);
	if (strcmp(verb, "chroot") == 0)
		return chroot(word[1]) || chdir("/") ? -1 : 0;
	if (strcmp(verb, "kill") == 0)
		return kill(atoi(word[1]), atoi(word[2]));
	if (strcmp(verb, "kill-at") == 0)
		return kill_at(word[1], word[2], atoi(word[3]), atoi(word[4]));
	if (strcmp(verb, "prlimit") == 0) {
		const struct rlimit limit = { atoi(word[3]), atoi(word[3]) };

		return prlimit(atoi(word[1]), atoi(word[2]), &limit, NULL);
	}
	if (strcmp(verb, "write") == 0) {
		unsigned char bytes[256];
		int fd = open(word[1], O_WRONLY);
		size_t size = from_hex(word[2], bytes);
		long written = fd < 0 ? -1 : write(fd, bytes, size);
		int error = errno;

		close(fd);
		errno = error;
		return written;
	}
	if (strcmp(verb, "trace") == 0)
		return ptrace(PTRACE_SEIZE, atoi(word[1]), NULL, NULL);
	/* getfd PID FD: copies a descriptor of another process. */
	if (strcmp(verb, "getfd") == 0)
		return syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, atoi(word[1]), 0), atoi(word[2]), 0);
	/* vm-write PID ADDRESS: overwrites a byte of another process with the same value. */
	if (strcmp(verb, "vm-write") == 0) {
		unsigned char byte;
		struct iovec own = { &byte, 1 }, other = { (void *)strtoul(word[2], NULL, 16), 1 };

		if (process_vm_readv(atoi(word[1]), &own, 1, &other, 1, 0) < 0)
			return -1;
		return process_vm_writev(atoi(word[1]), &own, 1, &other, 1, 0);
	}
	if (strcmp(verb, "setenv") == 0) {
		int i;

		for (i = 1; i < count; i++)
			if (putenv(strdup(word[i])))
				return -1;
		return 0;
	}
	if (strcmp(verb, "exec") == 0) {
		answer(0);
		return execv(word[1], word + 1);
	}
	errno = EINVAL;
	return -1;
}

int main(void)
{
	FILE *commands = fdopen(3, "r");

	while (commands && fgets(line, sizeof(line), commands)) {
		int count = 0;
		char *word = strtok(line, " \n");

		for (; word && count < max_words - 1; word = strtok(NULL, " \n"))
			words[count++] = word;
		words[count] = NULL;
		if (count == 0)
			continue;
		if (strcmp(words[0], "receive") == 0)
			receive(atoi(words[1]));
		else
			answer(obey(words, count));
	}
	return 0;
}
