/*
 * lying-engine: takes the place of criu, and obeys the file of its own name with `.says` appended. Each line is a step:
 * `receive`, `send HEX`, `send-lingering PORT HEX`, `stderr HEX`, `die`; `hold FILE` makes a process that it holds as if it had
 * restored it, and which creates FILE when it runs; `let-go` releases that process, as CRIU does in the end; `fork` leaves
 * another process; `leave-time` has later processes of its making live in another time namespace, which takes CAP_SYS_ADMIN;
 * `wait FILE` and `make FILE` put events in order. It is a program and no script, because the engines of users
 * without root are executed from a descriptor.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char packet[1 << 20], line[1 << 16];

static size_t from_hex(const char *hex, char *bytes)
{
	size_t length = 0;
	unsigned value;

	while (sscanf(hex + 2 * length, "%2x", &value) == 1)
		bytes[length++] = (char)value;
	return length;
}

/* Sends a message with a TCP socket that is full: its last close waits until the listener at that port reads. */
static void send_lingering(int port, const char *hex)
{
	struct sockaddr_in there = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct linger linger = { .l_onoff = 1, .l_linger = 600 };
	static char nothing[1 << 16];
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct iovec data = { packet, from_hex(hex, packet) };
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(fd))];
	} control = { 0 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	if (connect(fd, (struct sockaddr *)&there, sizeof(there)) != 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	while (send(fd, nothing, sizeof(nothing), MSG_DONTWAIT) > 0)
		;
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	if (sendmsg(3, &message, MSG_NOSIGNAL) < 0) {
		perror("Error: no descriptor can be sent");
		/* Exiting normally would wait for the close. */
		kill(getpid(), SIGKILL);
	}
	/* The message in the queue holds the last copy. */
	close(fd);
}

static pid_t held;

static void hold(const char *trace)
{
	held = fork();
	if (held == 0) {
		/* The held process has no descriptor of the engine's. */
		close_range(0, ~0U, 0);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		open(trace, O_CREAT | O_WRONLY, 0644);
		for (;;)
			pause();
	}
	if (held < 0 || waitpid(held, NULL, 0) != held)
		exit(1);
}

int main(int argc, char **argv)
{
	char path[4096];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 8);
	FILE *says;

	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		printf("Version: 4.1\n");
		return 0;
	}
	if (length < 0)
		return 1;
	strcpy(path + length, ".says");
	says = fopen(path, "re");
	while (says && fgets(line, sizeof(line), says)) {
		if (strncmp(line, "receive", 7) == 0 && recv(3, packet, sizeof(packet), 0) <= 0)
			return 1;
		line[strcspn(line, "\n")] = 0;
		while (strncmp(line, "wait ", 5) == 0 && access(line + 5, F_OK))
			usleep(1000);
		if (strncmp(line, "make ", 5) == 0)
			close(open(line + 5, O_CREAT | O_WRONLY, 0644));
		if (strncmp(line, "hold ", 5) == 0)
			hold(line + 5);
		if (strcmp(line, "fork") == 0 && fork() == 0) {
			close_range(0, ~0U, 0);
			for (;;)
				pause();
		}
		if (strcmp(line, "leave-time") == 0 && unshare(CLONE_NEWTIME))
			return 1;
		if (strcmp(line, "let-go") == 0 && ptrace(PTRACE_DETACH, held, NULL, NULL))
			return 1;
		if (strncmp(line, "send ", 5) == 0)
			send(3, packet, from_hex(line + 5, packet), MSG_NOSIGNAL);
		if (strncmp(line, "send-lingering ", 15) == 0)
			send_lingering(atoi(line + 15), strchr(line + 15, ' ') + 1);
		if (strncmp(line, "stderr ", 7) == 0)
			write(2, packet, from_hex(line + 7, packet));
		if (strncmp(line, "die", 3) == 0)
			kill(getpid(), SIGKILL);
	}
	return says ? 0 : 1;
}
