/*
 * ticket authenticate PASSWORD FILE: has sudo ask for the password, and writes its own pid, the ticks when it started, and the
 * hundredths of a second on CLOCK_BOOTTIME when sudo had answered.
 *
 * ticket waits PID START SEEN FILE: in the background, writes "late" into FILE as long as CLOCK_BOOTTIME is beyond START, and
 * "early" once it is not. Then a child of it becomes process PID at START, so that sudo takes it for the process that has
 * authenticated, and asks sudo at SEEN, which FILE tells then. Before it forks, it creates FILE.fork and waits for FILE.forked.
 */
#define _GNU_SOURCE
#include "daemonize.h"
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

static long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_BOOTTIME, &time);
	return time.tv_sec * 100 + time.tv_nsec / 10000000;
}

static void tell(const char *file, const char *text)
{
	char other[4096];
	int fd;

	snprintf(other, sizeof(other), "%s.new", file);
	fd = open(other, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		_exit(1);
	close(fd);
	rename(other, file);
}

static long started(void)
{
	char text[1024], *at;
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC), field;
	ssize_t size = read(fd, text, sizeof(text) - 1);

	close(fd);
	if (size < 0)
		_exit(1);
	text[size] = '\0';
	at = strrchr(text, ')');
	for (field = 2; field < 22; field++)
		at = strchr(at + 1, ' ');
	return atol(at + 1);
}

/* The exit status of sudo. */
static int sudo(const char *how, const char *input)
{
	int ends[2], status;
	pid_t child;

	if (pipe(ends) != 0)
		return -1;
	child = fork();
	if (child == 0) {
		dup2(ends[0], 0);
		close(ends[1]);
		execl("/usr/bin/sudo", "sudo", how, "-p", "", "true", NULL);
		_exit(127);
	}
	close(ends[0]);
	if (write(ends[1], input, strlen(input)) < 0)
		return -1;
	close(ends[1]);
	return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int authenticate(const char *password, const char *file)
{
	char text[256];

	/* A ticket counts in its session alone. */
	if (getsid(0) != getpid() && setsid() < 0)
		return 1;
	snprintf(text, sizeof(text), "%s\n", password);
	if (sudo("-S", text) != 0)
		return 1;
	snprintf(text, sizeof(text), "%d %ld %ld\n", getpid(), started(), now());
	tell(file, text);
	return 0;
}

static void become(pid_t pid, long start, long seen, const char *file)
{
	char text[256], other[4096];
	pid_t child;

	while (now() < start - 300)
		usleep(1000);
	snprintf(other, sizeof(other), "%s.fork", file);
	tell(other, "");
	snprintf(other, sizeof(other), "%s.forked", file);
	while (access(other, F_OK) != 0)
		usleep(1000);
	do {
		child = fork();
		if (child == 0)
			_exit(0);
		waitpid(child, NULL, 0);
	} while (child < pid - 1);
	while (now() < start)
		;
	child = fork();
	if (child != 0) {
		waitpid(child, NULL, 0);
		return;
	}
	setsid();
	while (now() < seen + 50)
		usleep(10000);
	if (getpid() != pid || started() != start)
		snprintf(text, sizeof(text), "missed: %d %ld", getpid(), started());
	else
		snprintf(text, sizeof(text), "sudo: %d", sudo("-n", ""));
	tell(file, text);
	_exit(0);
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "authenticate") == 0)
		return authenticate(argv[2], argv[3]);
	if (argc != 6 || strcmp(argv[1], "waits") != 0)
		return 2;
	daemonize();
	ready();
	while (now() >= atol(argv[3])) {
		tell(argv[5], "late");
		usleep(20000);
	}
	tell(argv[5], "early");
	become(atoi(argv[2]), atol(argv[3]), atol(argv[4]), argv[5]);
	for (;;)
		pause();
}
