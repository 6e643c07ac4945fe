/* checkpoint dump PID DIRECTORY: writes the process and its children into DIRECTORY, and ends them.
 * checkpoint restore DIRECTORY: restores them, under their former pids.
 *
 * A client of the checkpoint service in C, on CRIU's own library. It works for root, and for every
 * user with processes and directories of their own. */
#include <criu/criu.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char service[] = "/run/criu-service.socket";

static int usage(void)
{
	fprintf(stderr, "usage: checkpoint dump PID DIRECTORY\n"
			"       checkpoint restore DIRECTORY\n");
	return 2;
}

/* criu_dump(3) and the others return a negative errno: see the table in criu/criu.h. */
static int explain(const char *what, int returned, const char *directory, const char *log)
{
	switch (-returned) {
	case ECONNREFUSED:
		fprintf(stderr, "checkpoint: cannot connect to %s: %s\n"
				"Start the service with: systemctl start criu.socket\n",
			service, strerror(errno));
		break;
	case EBADE:
		/* The request arrived, and was refused or failed; errno is the service's reason. */
		fprintf(stderr, "checkpoint: %s: %s\n"
				"The reason is in %s/%s, and root finds it with: journalctl --unit=criu.service\n",
			what, errno ? strerror(errno) : "failed", directory, log);
		break;
	default:
		fprintf(stderr, "checkpoint: %s: %s\n", what, strerror(-returned));
	}
	return 1;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "", *directory = argv[argc - 1], *log;
	int fd, returned, pid = 0;
	char *end;

	if (strcmp(verb, "dump") == 0 && argc == 4) {
		pid = (int)strtol(argv[2], &end, 10);
		if (pid <= 0 || *end != '\0')
			return usage();
		log = "dump.log";
	} else if (strcmp(verb, "restore") == 0 && argc == 3) {
		log = "restore.log";
	} else {
		return usage();
	}

	/* The address makes the library talk to the service, instead of starting criu as a child. */
	if (criu_init_opts() != 0 || criu_set_service_address(service) != 0) {
		fprintf(stderr, "checkpoint: out of memory\n");
		return 1;
	}

	/* The directory is passed as a descriptor: the service opens it with the rights of this program's
	 * user. */
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		fprintf(stderr, "checkpoint: %s: %s\n", directory, strerror(errno));
		return 1;
	}
	criu_set_images_dir_fd(fd);
	criu_set_log_file(log);
	criu_set_log_level(4);

	if (pid > 0) {
		/* Without a pid the service would dump this very program. */
		criu_set_pid(pid);
		returned = criu_dump();
		if (returned < 0)
			return explain("dump", returned, directory, log);
		printf("process %d is in %s\n", pid, directory);
	} else {
		returned = criu_restore();
		if (returned < 0)
			return explain("restore", returned, directory, log);
		printf("process %d runs again\n", returned);
	}
	criu_free_opts();
	close(fd);
	return 0;
}
