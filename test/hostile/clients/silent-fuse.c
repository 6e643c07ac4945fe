/*
 * silent-fuse MOUNTPOINT UID LOG: a file system whose requests are read and never answered. Whoever asked cannot even be
 * killed then. LOG is there once it is mounted, and says which requests came.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char request[1 << 20];
	struct fuse_in_header *in = (struct fuse_in_header *)request;
	char options[128];
	int fuse, log;

	if (argc != 4 || (fuse = open("/dev/fuse", O_RDWR)) < 0) {
		perror("/dev/fuse");
		return 1;
	}
	snprintf(options, sizeof(options), "fd=%d,rootmode=40755,user_id=%s,group_id=%s,allow_other", fuse, argv[2], argv[2]);
	if (mount("silent", argv[1], "fuse", MS_NOSUID | MS_NODEV, options)) {
		perror("mount");
		return 1;
	}
	log = -1;
	for (;;) {
		if (read(fuse, request, sizeof(request)) < (ssize_t)sizeof(*in))
			return 0;
		if (in->opcode == FUSE_INIT) {
			struct fuse_init_in *init = (struct fuse_init_in *)(in + 1);
			struct {
				struct fuse_out_header header;
				struct fuse_init_out init;
			} out = { .init = { .major = FUSE_KERNEL_VERSION, .minor = init->minor, .max_write = 4096 } };

			if (init->minor > FUSE_KERNEL_MINOR_VERSION)
				out.init.minor = FUSE_KERNEL_MINOR_VERSION;
			out.header.len = sizeof(out);
			out.header.unique = in->unique;
			if (write(fuse, &out, sizeof(out)) < 0) {
				perror("FUSE_INIT");
				return 1;
			}
			log = open(argv[3], O_CREAT | O_WRONLY | O_APPEND, 0644);
			continue;
		}
		dprintf(log, "%u\n", in->opcode);
	}
}
