/* counter FILE: counts into FILE in the background and prints its pid. It does not use CRIU. */
#define _GNU_SOURCE
#include "daemonize.h"
#include "counting.h"

int main(int argc, char **argv)
{
	int fd;

	if (argc != 2)
		return 2;
	daemonize();
	fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || pwrite(fd, "00000000000000000000\n", 21, 0) != 21) {
		perror(argv[1]);
		return 1;
	}
	ready();
	count_into(fd);
}
