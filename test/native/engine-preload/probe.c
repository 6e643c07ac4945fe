/* Stands for criu: answers each packet on its connection with a packet. `child KIND` makes a child
 * that does the same, `in N COMMAND` passes a command to it, `vm COMMAND` has a child obey that
 * shares the memory and exits. A failed call is answered with -errno. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int capget(cap_user_header_t header, cap_user_data_t data);
int capset(cap_user_header_t header, const cap_user_data_t data);

static char answer[4096], own_end[4096];
static char stack[1 << 16] __attribute__((aligned(16)));
static int children[16];
static unsigned int child_count;
static int own_connection;

static long outcome(long result) { return result < 0 ? -errno : result; }

static void obey(char *command);

static int serve(int connection) {
  char command[4096];
  own_connection = connection;
  for (;;) {
    ssize_t size = recv(connection, command, sizeof command - 1, 0);
    if (size <= 0) break;
    command[size] = 0;
    answer[0] = 0;
    obey(command);
    if (send(connection, answer, strlen(answer), MSG_NOSIGNAL) < 0) break;
  }
  /* The asker has gone. A process that was told `at-end` outlives that, and reports it. */
  if (own_end[0] == 0) _exit(0);
  if (open(own_end, O_WRONLY | O_CREAT, 0600) < 0) _exit(1);
  for (;;) pause();
}

static int serve_pointer(void *connection) { return serve(*(int *)connection); }

static int obey_pointer(void *command) {
  obey(command);
  return 0;
}

static void make_child(char *kind, long pid) {
  int ends[2];
  if (child_count == sizeof children / sizeof children[0] || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) < 0) abort();
  struct {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size;
  } arguments = {.exit_signal = SIGCHLD};
  pid_t wanted = (pid_t)pid;
  if (strcmp(kind, "set-tid") == 0) {
    arguments.set_tid = (uintptr_t)&wanted;
    arguments.set_tid_size = 1;
  }
  long child;
  if (strcmp(kind, "fork") == 0) child = fork();
  else if (strcmp(kind, "clone") == 0) child = clone(serve_pointer, stack + sizeof stack, SIGCHLD, &ends[1]);
  else child = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (child == 0) {
    close(ends[0]);
    /* Otherwise another child would keep a connection open that must end with this process's
     * parent. */
    while (child_count > 0) close(children[--child_count]);
    _exit(serve(ends[1]));
  }
  if (child < 0) {
    snprintf(answer, sizeof answer, "%d", -errno);
    close(ends[0]);
  } else {
    children[child_count++] = ends[0];
    snprintf(answer, sizeof answer, "%ld", child);
  }
  close(ends[1]);
}

static long get_capabilities(struct __user_cap_data_struct *data) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, getpid()};
  return outcome(capget(&header, data));
}

static void obey(char *command) {
  char *text[3] = {"", "", ""};
  long number[3] = {0};
  char *rest = strchr(command, ' ');
  if (strncmp(command, "vm ", 3) == 0) {
    long child = clone(obey_pointer, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, rest + 1);
    if (child < 0) abort();
    waitpid((pid_t)child, NULL, 0);
    return;
  }
  if (strncmp(command, "in ", 3) == 0) {
    int child = children[strtol(rest, &rest, 10)];
    if (send(child, rest + 1, strlen(rest + 1), MSG_NOSIGNAL) < 0) abort();
    ssize_t size = recv(child, answer, sizeof answer - 1, 0);
    if (size < 0) abort();
    answer[size] = 0;
    return;
  }
  for (int index = 0; index < 3 && rest; index++) {
    *rest++ = 0;
    text[index] = rest;
    number[index] = strtol(rest, NULL, 0);
    rest = strchr(rest, ' ');
  }
  long result = -ENOSYS;
  int flags = (int)number[1];
#define IS(name) (strcmp(command, name) == 0)
  if (IS("child")) {
    make_child(text[0], number[1]);
    return;
  } else if (IS("open")) {
    flags = (int)number[0];
    result = outcome(open(text[1], flags));
  } else if (IS("openat")) {
    result = outcome(openat((int)number[0], text[2], flags));
  } else if (IS("fstatat")) {
    struct stat file;
    result = outcome(fstatat((int)number[0], text[1], &file, 0));
  } else if (IS("chdir")) {
    result = outcome(chdir(text[0]));
  } else if (IS("access")) {
    result = outcome(access(text[0], R_OK));
  } else if (IS("readlink")) {
    char room[4096];
    ssize_t size = readlink(text[0], room, (size_t)number[1]);
    if (size < 0) result = -errno;
    else {
      snprintf(answer, sizeof answer, "%.*s", (int)size, room);
      return;
    }
  } else if (IS("pid")) {
    result = getpid();
  } else if (IS("umask")) {
    result = outcome((long)umask((mode_t)number[0]));
  } else if (IS("dumpable")) {
    result = outcome(prctl(PR_SET_DUMPABLE, number[0], 0, 0, 0));
  } else if (IS("effective")) {
    struct __user_cap_data_struct data[2];
    result = get_capabilities(data);
    if (result == 0) result = data[1].effective >> (40 - 32) & 1;
  } else if (IS("take-permitted")) {
    /* As linkat_hard() of CRIU does. */
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    result = get_capabilities(data);
    for (int half = 0; half < 2; half++) data[half].effective = data[half].permitted;
    if (result == 0) result = outcome(capset(&header, data));
  } else if (IS("seize")) {
    result = outcome(ptrace(PTRACE_SEIZE, (pid_t)number[0], 0, 0));
  } else if (IS("detach")) {
    result = outcome(ptrace(PTRACE_DETACH, (pid_t)number[0], NULL, NULL));
  } else if (IS("set-options")) {
    result = outcome(ptrace(PTRACE_INTERRUPT, (pid_t)number[0], 0, 0));
    if (result == 0) result = outcome(waitpid((pid_t)number[0], NULL, __WALL));
    if (result > 0) result = outcome(ptrace(PTRACE_SETOPTIONS, (pid_t)number[0], NULL, PTRACE_O_TRACESYSGOOD));
    if (result == 0) result = outcome(ptrace(PTRACE_CONT, (pid_t)number[0], NULL, 0));
  } else if (IS("variable")) {
    char *value = getenv(text[0]);
    snprintf(answer, sizeof answer, "%s", value ? value : "(absent)");
    return;
  } else if (IS("at-end")) {
    snprintf(own_end, sizeof own_end, "%s", text[0]);
    result = 0;
  } else if (IS("execute")) {
    char connection[16];
    snprintf(connection, sizeof connection, "%d", own_connection);
    execl(text[0], "criu", "executed", connection, (char *)NULL);
    result = -errno;
  }
  snprintf(answer, sizeof answer, "%ld", result);
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--version") == 0) {
    puts("Version: 4.1.1");
    return 0;
  }
  if (argc == 3 && strcmp(argv[1], "executed") == 0)
    if (send(atoi(argv[2]), "executed", 8, MSG_NOSIGNAL) != 8) return 1;
  if (argc == 3) return serve(atoi(argv[2]));
  return 1;
}
