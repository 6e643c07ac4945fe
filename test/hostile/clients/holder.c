/*
 * Processes that hold a file, to be dumped. When FILE.go exists, the process tries to write into the file that it then holds, and
 * puts the errno into FILE.result.
 *
 *   holder open FLAGS PATH FILE    under descriptor 10; FLAGS are those of open(2)
 *   holder map FLAGS PATH FILE     mapped shared, with the access that the flags give
 *   holder cwd 0 PATH FILE         as its working directory
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "daemonize.h"

enum { held = 10, page_size = 4096 };
static const char mark[] = "ALICE WAS HERE";
static sigjmp_buf refused;

static void on_fault(int signal)
{
	siglongjmp(refused, signal);
}

/* @return 0, or -1 with errno; EFAULT: the mapping may not be written. */
static int write_into(char *mapping)
{
	if (!mapping)
		return pwrite(held, mark, sizeof(mark), 0) < 0 ? -1 : 0;
	signal(SIGSEGV, on_fault);
	signal(SIGBUS, on_fault);
	if (sigsetjmp(refused, 1)) {
		errno = EFAULT;
		return -1;
	}
	memcpy(mapping, mark, sizeof(mark));
	return 0;
}

int main(int argc, char **argv)
{
	char *mapping = NULL, go[4096], result[4096], temporary[4096];
	int flags, fd;
	FILE *file;

	if (argc != 5)
		return 2;
	flags = atoi(argv[2]);
	snprintf(go, sizeof(go), "%s.go", argv[4]);
	snprintf(result, sizeof(result), "%s.result", argv[4]);
	snprintf(temporary, sizeof(temporary), "%s.new", argv[4]);
	daemonize();
	if (strcmp(argv[1], "cwd") == 0) {
		if (chdir(argv[3]))
			return 1;
	} else {
		fd = open(argv[3], flags);
		if (fd < 0 || dup2(fd, held) < 0)
			return 1;
		close(fd);
		if (strcmp(argv[1], "map") == 0) {
			int access = (flags & O_ACCMODE) == O_RDWR ? PROT_READ | PROT_WRITE : PROT_READ;

			mapping = mmap(NULL, page_size, access, MAP_SHARED, held, 0);
			if (mapping == MAP_FAILED)
				return 1;
			close(held);
		}
	}
	ready();
	while (access(go, F_OK))
		usleep(1000);
	errno = 0;
	write_into(mapping);
	if (!(file = fopen(temporary, "w")))
		return 1;
	fprintf(file, "%d\n", errno);
	fclose(file);
	rename(temporary, result);
	for (;;)
		pause();
}
