/*
 * ticker CLOCK FILE: counts into FILE in the background, at moments of a clock that were chosen beforehand, and prints its pid.
 * CLOCK is `monotonic` or `boottime`.
 */
#define _GNU_SOURCE
#include "daemonize.h"
#include <string.h>
#include <time.h>

enum { pause_ns = 20 * 1000 * 1000, second_ns = 1000 * 1000 * 1000 };

int main(int argc, char **argv)
{
	struct timespec next;
	char line[32];
	clockid_t clock;
	unsigned long n;
	int fd;

	if (argc != 3)
		return 2;
	clock = strcmp(argv[1], "boottime") == 0 ? CLOCK_BOOTTIME : CLOCK_MONOTONIC;
	daemonize();
	fd = open(argv[2], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || pwrite(fd, "00000000000000000000\n", 21, 0) != 21) {
		perror(argv[2]);
		return 1;
	}
	ready();
	clock_gettime(clock, &next);
	for (n = 1;; n++) {
		next.tv_nsec += pause_ns;
		if (next.tv_nsec >= second_ns) {
			next.tv_nsec -= second_ns;
			next.tv_sec++;
		}
		while (clock_nanosleep(clock, TIMER_ABSTIME, &next, NULL) != 0)
			;
		snprintf(line, sizeof(line), "%020lu\n", n);
		if (pwrite(fd, line, 21, 0) != 21)
			_exit(1);
	}
}
