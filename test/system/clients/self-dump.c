/*
 * self-dump ADDRESS IMAGES_DIR RESULT_FILE COUNT_FILE plain|named|child|again|leave-running|loop|locked: asks the service to dump this
 * process itself, through libcriu, writes the result of libcriu into RESULT_FILE, and counts on. `named` tells its own pid.
 * With `child`, a child asks for a dump of its parent, and reports. `again` dumps itself a second time, when it has been restored from
 * IMAGES_DIR/1.
 */
#define _GNU_SOURCE
#include <criu/criu.h>
#include <errno.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/stat.h>
#include "daemonize.h"
#include "counting.h"

static const char *address, *images, *result_file, *count_file, *how;
static int rounds;

/* Opened and closed for each line: a process with a file that grew since the dump would not be restored. */
static void report(const char *what, int value, int error)
{
	FILE *file = fopen(result_file, "a");

	if (!file)
		_exit(1);
	fprintf(file, "%s %d errno %d\n", what, value, error);
	fclose(file);
}

static void use_fresh_directory(int round)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%d", images, round);
	if (mkdir(path, 0755) || (fd = open(path, O_RDONLY | O_DIRECTORY)) < 0)
		_exit(1);
	criu_set_images_dir_fd(fd);
}

/* Each round has its own directory, with the previous directory as its parent. */
static void use_directory(int round)
{
	char parent[16];

	use_fresh_directory(round);
	snprintf(parent, sizeof(parent), "../%d", round - 1);
	if (round > 1 && criu_set_parent_images(parent))
		_exit(1);
}

static int more(criu_predump_info info)
{
	(void)info;
	report("round", ++rounds, 0);
	use_directory(rounds + 1);
	return rounds < 2;
}

static int dump(void)
{
	/* With an address, libcriu talks to a service instead of starting criu itself. */
	if (criu_init_opts() || criu_set_service_address(address))
		return -1000;
	criu_set_log_file("self-dump.log");
	criu_set_log_level(4);
	if (strcmp(how, "loop") == 0) {
		criu_set_pid(getpid());
		criu_set_track_mem(true);
		use_directory(1);
		return criu_dump_iters(more);
	}
	if (strcmp(how, "again") == 0) {
		use_fresh_directory(++rounds);
		return criu_dump();
	}
	criu_set_images_dir_fd(open(images, O_RDONLY | O_DIRECTORY));
	if (strcmp(how, "leave-running") == 0)
		criu_set_leave_running(true);
	if (strcmp(how, "named") == 0)
		criu_set_pid(getpid());
	if (strcmp(how, "child") == 0)
		criu_set_pid(getppid());
	return criu_dump();
}

int main(int argc, char **argv)
{
	int fd, returned;

	if (argc != 6)
		return 2;
	address = argv[1], images = argv[2], result_file = argv[3], count_file = argv[4], how = argv[5];
	daemonize();
	fd = open(count_file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || pwrite(fd, "00000000000000000000\n", 21, 0) != 21)
		return 1;
	/* Without file_locks in its options CRIU refuses a locked file, halfway through the dump. */
	if (strcmp(how, "locked") == 0 && flock(fd, LOCK_EX))
		return 1;
	ready();
	/* The restored child is the parent's again. */
	if (strcmp(how, "child") == 0 && fork() > 0)
		count_into(fd);
	do {
		returned = dump();
		report("dump", returned, returned < 0 ? errno : 0);
	} while (strcmp(how, "again") == 0 && returned == 1 && rounds < 2);
	if (strcmp(how, "child") == 0)
		return 0;
	count_into(fd);
}
