/*
 * silent-fuse MOUNTPOINT UID LOG: a file system that reads requests and never answers. A process that waits for an answer cannot
 * even be killed. LOG exists after the mount, and lists the requests without an answer.
 *
 * silent-fuse MOUNTPOINT UID LOG flush: answers until a descriptor of any of its files is closed, or a mapping that was written
 * to ends; that request gets no answer. After SIGUSR1 no request does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { file_size = 4096 };
static volatile sig_atomic_t silent;
static int fuse, log_fd = -1;

/* Written to the log only after it is true. */
static void fall_silent(int signal)
{
	(void)signal;
	silent = 1;
	write(log_fd, "silent\n", 7);
}

static void answer(const struct fuse_in_header *in, int error, const void *body, size_t size)
{
	char reply[sizeof(struct fuse_out_header) + file_size];
	struct fuse_out_header header = { .len = sizeof(header) + size, .error = -error, .unique = in->unique };

	memcpy(reply, &header, sizeof(header));
	if (size > 0)
		memcpy(reply + sizeof(header), body, size);
	if (write(fuse, reply, header.len) < 0) {
		perror("answer");
		exit(1);
	}
}

static struct fuse_attr attributes_of(unsigned long long node)
{
	struct fuse_attr attributes = { .ino = node, .nlink = 1, .mode = S_IFREG | 0666, .size = file_size };

	if (node == FUSE_ROOT_ID)
		attributes.mode = S_IFDIR | 0777;
	return attributes;
}

static void initialize(const struct fuse_in_header *in, const struct fuse_init_in *init)
{
	/* With this flag the kernel keeps the times of a file, and sends them when a mapping ends. */
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION, .minor = init->minor, .max_write = file_size, .flags = FUSE_WRITEBACK_CACHE
	};

	if (init->minor > FUSE_KERNEL_MINOR_VERSION)
		out.minor = FUSE_KERNEL_MINOR_VERSION;
	answer(in, 0, &out, sizeof(out));
}

/* @return 0 for a request that is to get no answer. */
static int served(const struct fuse_in_header *in)
{
	struct fuse_entry_out entry = { .nodeid = 2, .attr = attributes_of(2) };
	struct fuse_attr_out attributes = { .attr = attributes_of(in->nodeid) };
	struct fuse_open_out opened = { .fh = 1 };
	static const char content[file_size];

	switch (in->opcode) {
	case FUSE_LOOKUP:
		answer(in, 0, &entry, sizeof(entry));
		return 1;
	case FUSE_GETATTR:
		answer(in, 0, &attributes, sizeof(attributes));
		return 1;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		answer(in, 0, &opened, sizeof(opened));
		return 1;
	case FUSE_READ:
		answer(in, 0, content, sizeof(content));
		return 1;
	case FUSE_ACCESS:
	case FUSE_STATFS:
		/* After this answer the kernel no longer asks. */
		answer(in, ENOSYS, NULL, 0);
		return 1;
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		answer(in, 0, NULL, 0);
		return 1;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return 1;
	default:
		return 0;
	}
}

int main(int argc, char **argv)
{
	static char request[1 << 20];
	const struct fuse_in_header *in = (const struct fuse_in_header *)request;
	const struct sigaction on_signal = { .sa_handler = fall_silent };
	char options[128];

	if (argc < 4 || (fuse = open("/dev/fuse", O_RDWR)) < 0) {
		perror("/dev/fuse");
		return 1;
	}
	silent = argc == 4;
	sigaction(SIGUSR1, &on_signal, NULL);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40777,user_id=%s,group_id=%s,allow_other", fuse, argv[2], argv[2]);
	if (mount("silent", argv[1], "fuse", MS_NOSUID | MS_NODEV, options)) {
		perror("mount");
		return 1;
	}
	for (;;) {
		if (read(fuse, request, sizeof(request)) < (ssize_t)sizeof(*in)) {
			if (errno == EINTR)
				continue;
			return 0;
		}
		if (in->opcode == FUSE_INIT) {
			initialize(in, (const struct fuse_init_in *)(in + 1));
			log_fd = open(argv[3], O_CREAT | O_WRONLY | O_APPEND, 0644);
			continue;
		}
		if (silent || !served(in))
			dprintf(log_fd, "%u\n", in->opcode);
	}
}
