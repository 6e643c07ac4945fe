/*
 * Counts into a file, with the number also in many pages of memory: if a restored process finds a page of another moment, it
 * writes "corrupt" instead.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { page_count = 64, page_size = 4096 };
static volatile unsigned long pages[page_count][page_size / sizeof(unsigned long)];

/* The file keeps its size, which CRIU compares at restore. */
static void count_into(int fd)
{
	const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
	char line[32];
	unsigned long n, i;

	for (n = pages[0][0];; n++) {
		for (i = 0; i < page_count; i++) {
			if (pages[i][0] != n) {
				pwrite(fd, "corrupt             \n", 21, 0);
				_exit(1);
			}
		}
		for (i = 0; i < page_count; i++)
			pages[i][0] = n + 1;
		snprintf(line, sizeof(line), "%020lu\n", n + 1);
		if (pwrite(fd, line, 21, 0) != 21)
			_exit(1);
		nanosleep(&pause, NULL);
	}
}
