/*
 * Leaves the caller's session, terminal and descriptors behind, as a process must that is to be dumped by itself: CRIU refuses a
 * tree whose session leader, or the other end of whose pipes, is outside of it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Returns in the child; the parent prints the child's pid, waits until the child calls ready(), and exits. */
static int ready_pipe[2];

static void daemonize(void)
{
	char byte;
	pid_t pid;

	if (pipe2(ready_pipe, O_CLOEXEC) || (pid = fork()) < 0) {
		perror("daemonize");
		exit(1);
	}
	if (pid > 0) {
		close(ready_pipe[1]);
		if (read(ready_pipe[0], &byte, 1) != 1) {
			fprintf(stderr, "the process did not get ready\n");
			exit(1);
		}
		printf("%d\n", (int)pid);
		exit(0);
	}
	setsid();
	close(ready_pipe[0]);
}

static void ready(void)
{
	int null = open("/dev/null", O_RDWR);

	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	if (null > 2)
		close(null);
	if (write(ready_pipe[1], "", 1) != 1)
		exit(1);
	close(ready_pipe[1]);
}
