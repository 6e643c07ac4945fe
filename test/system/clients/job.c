/* job FILE: counts into FILE where it was started, in the session and the process group of its shell's choice. */
#define _GNU_SOURCE
#include "counting.h"

int main(int argc, char **argv)
{
	int fd;

	if (argc != 2)
		return 2;
	fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || pwrite(fd, "00000000000000000000\n", 21, 0) != 21)
		return 1;
	count_into(fd);
}
