/*
 * Memory and files that their owner lets others read and not write. Each process prints its pid, has one shared mapping of a page
 * that is no part of a program, and sleeps.
 *
 *   mapped segment           makes a System V segment that every user may read, and holds it
 *   mapped memfd             makes a memfd and holds it
 *   mapped file PATH         makes a file that every user who reaches it may write, and holds it
 *   mapped attach ID         holds a segment of another user's, for reading
 *   mapped view UID PATH     maps a file for reading, keeps no descriptor of it, and becomes UID, as a service does that becomes
 *                            its users; to be started by root
 *   mapped apart UID         the same with a file in a mount namespace of its own, in a directory of root's
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include "daemonize.h"

enum { page_size = 4096 };
static const char content[] = "ONLY FOR READING";

static void must(int holds, const char *what)
{
	if (holds)
		return;
	perror(what);
	exit(1);
}

static void hold(int fd)
{
	char *page;

	must(fd >= 0 && ftruncate(fd, page_size) == 0, "file");
	page = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(page != MAP_FAILED, "mmap");
	memcpy(page, content, sizeof(content));
	close(fd);
}

static int make_file(const char *path)
{
	int fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0600);

	must(fd >= 0 && fchmod(fd, 0666) == 0, path);
	return fd;
}

static void view(const char *path, const char *uid)
{
	int fd = open(path, O_RDONLY), id = atoi(uid);

	must(fd >= 0 && mmap(NULL, page_size, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED, path);
	close(fd);
	must(!setgroups(0, NULL) && !setresgid(id, id, id) && !setresuid(id, id, id), uid);
	/* The next execve(2) would make it dumpable, too. */
	must(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0, "dumpable");
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	daemonize();
	if (strcmp(what, "segment") == 0) {
		int id = shmget(IPC_PRIVATE, page_size, IPC_CREAT | 0644);
		char *page = shmat(id, NULL, 0);

		must(page != (char *)-1, "shmat");
		memcpy(page, content, sizeof(content));
		/* The segment disappears with the last process that is attached. */
		shmctl(id, IPC_RMID, NULL);
	} else if (strcmp(what, "memfd") == 0) {
		hold(memfd_create("bobs", 0));
	} else if (strcmp(what, "file") == 0 && argc == 3) {
		hold(make_file(argv[2]));
	} else if (strcmp(what, "attach") == 0 && argc == 3) {
		must(shmat(atoi(argv[2]), NULL, SHM_RDONLY) != (char *)-1, "shmat");
	} else if (strcmp(what, "view") == 0 && argc == 4) {
		view(argv[3], argv[2]);
	} else if (strcmp(what, "apart") == 0 && argc == 3) {
		must(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
			     mount("apart", "/mnt", "tmpfs", 0, "mode=0700") == 0,
		     "mount");
		hold(make_file("/mnt/apart"));
		view("/mnt/apart", argv[2]);
	} else {
		return 2;
	}
	ready();
	for (;;)
		pause();
}
