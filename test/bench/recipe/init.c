// The whole initramfs: loads the modules that the disk needs, mounts it, becomes its init.
// A generated one runs udev and shell scripts, which an emulated processor takes seconds for.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// The kernel panics when init ends, and with panic=-1 and -no-reboot that ends the machine.
static void require(int ok, const char *what)
{
	if (ok)
		return;
	dprintf(2, "bench init: %s: %s\n", what, strerror(errno));
	_exit(1);
}

int main(void)
{
	char line[256];

	require(mount("dev", "/dev", "devtmpfs", 0, NULL) == 0, "mount /dev");

	// One path a line, in the order that modprobe gave.
	FILE *list = fopen("/modules", "re");
	require(list != NULL, "open /modules");
	while (fgets(line, sizeof(line), list)) {
		line[strcspn(line, "\n")] = 0;
		int fd = open(line, O_RDONLY | O_CLOEXEC);
		require(fd >= 0, line);
		require(syscall(SYS_finit_module, fd, "", 0) == 0 || errno == EEXIST, line);
		close(fd);
	}
	fclose(list);

	// The driver probes in the background: up to 30 s for the disk to appear.
	for (int i = 0; i < 3000 && access("/dev/vda", F_OK) != 0; i++)
		usleep(10000);
	require(mount("/dev/vda", "/root", "ext4", MS_RELATIME, NULL) == 0, "mount /dev/vda");

	// What switch_root does; the few files left behind in the initramfs are small.
	require(mount("/dev", "/root/dev", NULL, MS_MOVE, NULL) == 0, "move /dev");
	require(chdir("/root") == 0 && mount(".", "/", NULL, MS_MOVE, NULL) == 0, "move the root");
	require(chroot(".") == 0 && chdir("/") == 0, "chroot");
	execl("/sbin/init", "init", (char *)NULL);
	require(0, "exec /sbin/init");
	return 1;
}
