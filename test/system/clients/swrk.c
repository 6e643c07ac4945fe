/*
 * swrk VERB IMAGES_DIR [PID]: libcriu as it comes, which starts the criu of the PATH. Prints the results, and the scripts of the
 * notifications before them.
 *
 * dump PID and restore do that, in notifications; dump-self names no pid, dump-parent names the parent of this process; restore-child wants the
 * restored process for a child.
 */
#include <criu/criu.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int notified(char *script, criu_notify_arg_t argument)
{
	(void)argument;
	printf("%s ", script);
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb;
	int fd, returned;

	if (argc < 3 || criu_init_opts())
		return 2;
	verb = argv[1];
	fd = open(argv[2], O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return 2;
	criu_set_images_dir_fd(fd);
	criu_set_log_level(4);
	criu_set_log_file(strncmp(verb, "dump", 4) ? "restore.log" : "dump.log");
	if (strcmp(verb, "dump") == 0)
		criu_set_pid(atoi(argv[3]));
	if (strcmp(verb, "dump-parent") == 0)
		criu_set_pid(getppid());
	if (strcmp(verb, "dump") == 0 || strcmp(verb, "restore") == 0)
		criu_set_notify_cb(notified);

	if (strncmp(verb, "dump", 4) == 0)
		returned = criu_dump();
	else if (strcmp(verb, "restore-child") == 0)
		returned = criu_restore_child();
	else
		returned = criu_restore();
	printf("%d\n", returned);
	return 0;
}
