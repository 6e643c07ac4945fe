/*
 * kin ADDRESS IMAGES_DIR RESULT_FILE ACT [COUNT]: starts a child, asks the service to dump it and to leave it running, through libcriu,
 * and lets it go on. The child writes what became of its act into RESULT_FILE after the line about the dump. With `gone` the child
 * ends with its dump. COUNT processes are below the child, in generations of ten.
 *
 * kin FILE anybody: counts into FILE in the background, having named anybody as its tracer, and prints its pid.
 */
#define _GNU_SOURCE
#include <criu/criu.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "daemonize.h"
#include "counting.h"

static int word;
static FILE *result;

static void report(const char *what, long value)
{
	fprintf(result, "%s %ld errno %d\n", what, value, value == -1 ? errno : 0);
	fflush(result);
}

static void act(const char *how, int input, int told)
{
	struct timespec delay = { .tv_sec = 90 };
	struct pollfd pollfd = { input, POLLIN, 0 };
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog filter = { 1, &allow };
	char byte;
	long value;

	if (strcmp(how, "not-dumpable") == 0)
		prctl(PR_SET_DUMPABLE, 0);
	if (strcmp(how, "filter") == 0) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
	}
	if (write(told, "", 1) != 1)
		_exit(1);
	close(told);
	if (strcmp(how, "nanosleep") == 0)
		value = nanosleep(&delay, NULL);
	else if (strcmp(how, "futex") == 0)
		value = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &delay, NULL, 0);
	else if (strcmp(how, "poll") == 0)
		value = poll(&pollfd, 1, -1);
	else
		value = read(input, &byte, 1);
	report(how, value);
	exit(0);
}

static void have_children(int count)
{
	int at;

	for (at = 0; at < 10 && count > 0; at++) {
		const int below = count > 10 ? (count - 10 + at) / 10 : 0;

		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			have_children(below);
			for (;;)
				pause();
		}
		if (at + 1 == count)
			break;
	}
}

static void wait_for(pid_t pid, char state)
{
	char path[64], text[4096];
	const char *found;

	do {
		ssize_t size;
		int fd;

		usleep(10000);
		snprintf(path, sizeof(path), "/proc/%d/status", pid);
		fd = open(path, O_RDONLY);
		size = read(fd, text, sizeof(text) - 1);
		close(fd);
		text[size > 0 ? size : 0] = '\0';
		found = strstr(text, "\nState:\t");
	} while (found && found[8] != state);
}

static int dump(const char *address, const char *images, pid_t pid, bool leave)
{
	if (criu_init_opts() || criu_set_service_address(address))
		return -1000;
	criu_set_log_file("kin.log");
	criu_set_log_level(4);
	criu_set_pid(pid);
	criu_set_leave_running(leave);
	criu_set_images_dir_fd(open(images, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	return criu_dump();
}

static int anybody(const char *file)
{
	int fd;

	daemonize();
	fd = open(file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || pwrite(fd, "00000000000000000000\n", 21, 0) != 21)
		return 1;
	if (prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0))
		return 1;
	ready();
	count_into(fd);
	return 0;
}

int main(int argc, char **argv)
{
	int input[2], told[2], returned;
	const char *how;
	char byte;
	pid_t child;

	if (argc == 3 && strcmp(argv[2], "anybody") == 0)
		return anybody(argv[1]);
	if (argc < 5 || pipe2(input, O_CLOEXEC) || pipe2(told, O_CLOEXEC))
		return 2;
	how = argv[4];
	result = fopen(argv[3], "ae");
	child = fork();
	if (child == 0) {
		int null = open("/dev/null", O_RDWR);

		setsid();
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		close(null);
		close(input[1]);
		close(told[0]);
		if (argc > 5)
			have_children(atoi(argv[5]));
		act(how, input[0], told[1]);
	}
	close(told[1]);
	if (read(told[0], &byte, 1) != 1)
		return 1;
	wait_for(child, 'S');
	if (strcmp(how, "stopped") == 0) {
		kill(child, SIGSTOP);
		wait_for(child, 'T');
	}
	returned = dump(argv[1], argv[2], child, strcmp(how, "gone") != 0);
	report("dump", returned);
	if (strcmp(how, "stopped") == 0) {
		wait_for(child, 'T');
		kill(child, SIGCONT);
	}
	if (write(input[1], "x", 1) != 1)
		return 1;
	waitpid(child, &returned, 0);
	report("child", returned);
	return 0;
}
