/*
 * Processes unrelated to the service, which sleep.
 *
 *   bystander sleep              with the rights that its file and its starter give it
 *   bystander threads COUNT      with so many more threads
 *   bystander container UID      the first process of a container of UID's, which is user 0 inside and UID outside, and a child of
 *                                it under a subordinate uid of UID's; to be started by root, which maps the ids as newuidmap(1) does
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void *idle(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static int threads(int count)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 16384);
	while (count-- > 0)
		if (pthread_create(&thread, &attributes, idle, NULL))
			return 1;
	idle(NULL);
	return 0;
}

static void write_map(int pid, const char *which, int id)
{
	char path[64], map[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, which);
	snprintf(map, sizeof(map), "0 %d 1\n1 100000 65536\n", id);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, map, strlen(map)) < 0) {
		perror(path);
		exit(1);
	}
	close(fd);
}

static int become(int id)
{
	return setgroups(0, NULL) || setresgid(id, id, id) || setresuid(id, id, id);
}

static int container(int uid)
{
	int made[2], mapped[2];
	char byte;
	pid_t pid;

	if (pipe(made) || pipe(mapped) || (pid = fork()) < 0)
		return 1;
	if (pid > 0) {
		if (read(made[0], &byte, 1) != 1)
			return 1;
		write_map(pid, "uid_map", uid);
		write_map(pid, "gid_map", uid);
		write(mapped[1], "", 1);
		idle(NULL);
	}
	/* A process that has changed its uid may not be mapped by itself until it is dumpable. */
	if (become(uid) || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) ||
	    unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS)) {
		perror("container");
		return 1;
	}
	write(made[1], "", 1);
	if (read(mapped[0], &byte, 1) != 1 || (pid = fork()) < 0)
		return 1;
	if (pid > 0)
		idle(NULL);
	if (become(0))
		return 1;
	if (fork() == 0 && become(33))
		return 1;
	idle(NULL);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "sleep") == 0)
		idle(NULL);
	if (argc == 3 && strcmp(argv[1], "threads") == 0)
		return threads(atoi(argv[2]));
	if (argc == 3 && strcmp(argv[1], "container") == 0)
		return container(atoi(argv[2]));
	return 2;
}
