/*
 * Processes to be dumped that have the kernel divert them to a landing of theirs, from wherever they are at that moment, and so
 * from the middle of a restore, too. Each prints its pid.
 *
 *   led sequence FILE      has a restartable sequence (rseq(2)) in a page of FILE, which it has mapped shared
 *   led signal FILE        has a handler of signal 32, which the C library keeps for itself and never blocks; and a child like
 *                          it, which has no files to open
 *
 * At the landing it writes FILE.landed: its effective capabilities, and the errno with which it opened for writing, and wrote,
 * the file that FILE.link names (0: it has written).
 *
 *   led diverts -          succeeds if the kernel diverts a thread that comes out of a system call, as it does to CRIU's restorer
 *   led write FILE         has the kernel divert every process with its restartable sequence in FILE
 *   led stop PID LOG       says so when it is there, and stops a process when CRIU, as LOG says, restores its open files
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/rseq.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include "daemonize.h"

enum { page_size = 4096, libc_signal = 32, many_files = 500 };
static const char mark[] = "ALICE WAS HERE";

#ifdef __x86_64__

struct area {
	struct rseq rseq;
	struct rseq_cs sequence;
};

static struct area *area;
static char file[4000];
/* During a restore the thread may have a small stack of CRIU's. */
static char stack[65536] __attribute__((aligned(16), used));

void landing(void);
__asm__(".pushsection .text\n"
	/* The kernel diverts a thread only to code behind this signature. */
	".long 0x53053053\n"
	"landing:\n"
	"lea stack+65536(%rip), %rsp\n"
	"call landed\n"
	".popsection\n");

static const char *beside(const char *ending)
{
	static char path[sizeof(file) + 16];

	snprintf(path, sizeof(path), "%s.%s", file, ending);
	return path;
}

static int write_through(void)
{
	char link[256] = "";
	int fd = open(beside("link"), O_RDONLY);

	if (fd < 0 || read(fd, link, sizeof(link) - 1) < 0)
		return errno;
	fd = open(link, O_RDWR);
	return fd < 0 || pwrite(fd, mark, sizeof(mark), 0) < 0 ? errno : 0;
}

__attribute__((used)) static void landed(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	char text[64], temporary[sizeof(file) + 16];
	int fd;

	if (area)
		area->rseq.rseq_cs = 0;
	syscall(SYS_capget, &header, data);
	snprintf(text, sizeof(text), "%08x%08x %d\n", data[1].effective, data[0].effective, write_through());
	strcpy(temporary, beside("new"));
	fd = open(temporary, O_CREAT | O_WRONLY | O_TRUNC, 0644);
	write(fd, text, strlen(text));
	close(fd);
	rename(temporary, beside("landed"));
	for (;;)
		pause();
}

static void map(void)
{
	int fd = open(file, O_RDWR);

	area = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (area == MAP_FAILED)
		exit(1);
	close(fd);
}

/* Otherwise the C library registers a sequence of its own; a thread can have only one. */
static void without_sequence_of_libc(char **argv)
{
	if (getenv("GLIBC_TUNABLES"))
		return;
	setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0", 1);
	execv("/proc/self/exe", argv);
	exit(1);
}

void diverted(void);
__asm__(".pushsection .text\n"
	".long 0x53053053\n"
	"diverted:\n"
	"mov $231, %eax\n" /* exit_group(2) */
	"xor %edi, %edi\n"
	"syscall\n"
	".popsection\n");

__attribute__((noinline)) static int diverts(char **argv)
{
	static struct area own;
	uintptr_t landing = (uintptr_t)diverted, here = (uintptr_t)diverts;
	int i;

	without_sequence_of_libc(argv);
	/* The sequence is this function, and does not contain its landing. */
	own.sequence.start_ip = here < landing ? page_size : landing + 16;
	own.sequence.post_commit_offset = here < landing ? landing - page_size - 16 : 1 << 30;
	own.sequence.abort_ip = landing;
	if (syscall(SYS_rseq, &own.rseq, sizeof(own.rseq), 0, 0x53053053))
		return 1;
	own.rseq.rseq_cs = (uintptr_t)&own.sequence;
	for (i = 0; i < 100; i++) {
		struct timespec pause = { 0, 1000000 };
		long result;

		__asm__ volatile("syscall" : "=a"(result) : "a"(SYS_nanosleep), "D"(&pause), "S"(0) : "rcx", "r11", "memory");
	}
	return 1;
}

static int be_led_by_sequence(char **argv)
{
	without_sequence_of_libc(argv);
	daemonize();
	map();
	/* Diverts from everywhere below the landing: CRIU puts its restorer there. */
	area->sequence.start_ip = page_size;
	area->sequence.post_commit_offset = (uintptr_t)landing - 2 * page_size;
	area->sequence.abort_ip = (uintptr_t)landing;
	if (syscall(SYS_rseq, &area->rseq, sizeof(area->rseq), 0, 0x53053053))
		return 1;
	/* The address that `led write` puts into the file, for the kernel. */
	area->rseq.flags = 0;
	pwrite(open(beside("sequence"), O_CREAT | O_WRONLY, 0644), &(uint64_t){ (uintptr_t)&area->sequence }, 8, 0);
	ready();
	for (;;)
		pause();
}

static int lead(void)
{
	uint64_t sequence;

	map();
	if (read(open(beside("sequence"), O_RDONLY), &sequence, sizeof(sequence)) != sizeof(sequence))
		return 1;
	area->rseq.rseq_cs = sequence;
	return 0;
}

static int be_led_by_signal(void)
{
	/* The kernel's structure: the C library refuses handlers of this signal. */
	struct {
		void (*handler)(void);
		unsigned long flags;
		void (*restorer)(void);
		uint64_t mask;
	} action = { landing, 0x04000000, landing, 0 };
	int null, i;

	daemonize();
	syscall(SYS_rt_sigaction, libc_signal, &action, NULL, sizeof(action.mask));
	if (fork() == 0) {
		/* The child has no files whose restore would take time. */
		null = open("/dev/null", O_RDWR);
		close(ready_pipe[1]);
		for (i = 0; i < 3; i++)
			dup2(null, i);
		close(null);
		for (;;)
			pause();
	}
	/* The restore of these files takes long enough to be stopped. */
	for (i = 0; i < many_files; i++)
		open("/etc/passwd", O_RDONLY);
	ready();
	for (;;)
		pause();
	return 1;
}

static int stop(const char *pid, const char *log)
{
	static char text[4 << 20];
	char line[64];

	snprintf(line, sizeof(line), " %s: Restoring resources", pid);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int fd = open(log, O_RDONLY);
		ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

		close(fd);
		text[size > 0 ? size : 0] = 0;
		if (strstr(text, line))
			return kill(atoi(pid), SIGSTOP) ? 1 : 0;
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";

	snprintf(file, sizeof(file), "%s", argv[argc - 1]);
	if (strcmp(what, "sequence") == 0)
		return be_led_by_sequence(argv);
	if (strcmp(what, "diverts") == 0)
		return diverts(argv);
	if (strcmp(what, "write") == 0)
		return lead();
	if (strcmp(what, "signal") == 0)
		return be_led_by_signal();
	if (strcmp(what, "stop") == 0 && argc == 4)
		return stop(argv[2], argv[3]);
	return 2;
}

#else

int main(void)
{
	return 2;
}

#endif
