/* Stands for criu, and for an ordinary child of the caller: reports its traits, a line for each,
 * and exits. As `criu swrk 3` it answers on its connection, otherwise on stdout. Linked statically:
 * no loader, no limit of its own. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/types.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static char lines[1 << 19];
static size_t used;

static void say(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int size = vsnprintf(lines + used, sizeof lines - used, format, arguments);
  va_end(arguments);
  if (size < 0 || (size_t)size >= sizeof lines - used) _exit(70);
  used += (size_t)size;
}

static void say_status(void) {
  static const char *const names[] = {"Uid",    "Gid",    "Groups", "CapInh",     "CapPrm",  "CapEff", "CapBnd",
                                      "CapAmb", "Umask",  "SigBlk", "SigIgn",     "Seccomp", "NoNewPrivs",
                                      "Cpus_allowed_list"};
  static char text[1 << 19];
  int fd = open("/proc/self/status", O_RDONLY);
  size_t size = 0;
  ssize_t got;
  while ((got = read(fd, text + size, sizeof text - 1 - size)) > 0) size += (size_t)got;
  close(fd);
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    char *colon = strchr(line, ':');
    if (!colon) continue;
    *colon = 0;
    for (size_t index = 0; index < sizeof names / sizeof names[0]; index++)
      if (strcmp(names[index], line) == 0) say("%s=%s\n", line, colon + 1 + strspn(colon + 1, " \t"));
  }
}

static void say_file(const char *name) {
  char path[64], text[64];
  snprintf(path, sizeof path, "/proc/self/%s", name);
  int fd = open(path, O_RDONLY);
  ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (size < 0) size = snprintf(text, sizeof text, "errno %d", errno);
  text[size] = 0;
  text[strcspn(text, "\n")] = 0;
  say("%s=%s\n", name, text);
  if (fd >= 0) close(fd);
}

static void say_fds(void) {
  DIR *directory = opendir("/proc/self/fd");
  for (struct dirent *entry; directory && (entry = readdir(directory));) {
    int number = atoi(entry->d_name);
    char target[256];
    ssize_t size = readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1);
    if (entry->d_name[0] == '.' || number == dirfd(directory) || size < 0) continue;
    target[size] = 0;
    say("fd.%d=%s\n", number, target);
  }
  if (directory) closedir(directory);
  /* Opens the files of a request as CRIU does: anew, through /proc. */
  for (int number = 4; number < 7; number++) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", getpid(), number);
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    say("directory.%d=%d\n", number, fd < 0 ? errno : 0);
    if (fd >= 0) close(fd);
    fd = open(path, O_WRONLY | O_NONBLOCK);
    say("writable.%d=%d\n", number, fd < 0 ? errno : 0);
    if (fd >= 0) {
      if (write(fd, "!", 1) != 1) say("write.%d=%d\n", number, errno);
      close(fd);
    }
  }
}

static void say_scheduling(void) {
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } attributes = {0};
  syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0);
  say("scheduler=policy %u flags %llu nice %d priority %u\n", attributes.policy, (unsigned long long)attributes.flags,
      attributes.nice, attributes.priority);
  say("nice=%d\n", getpriority(PRIO_PROCESS, 0));
  long io = syscall(SYS_ioprio_get, 1, 0);
  say("ioprio=%ld\n", io);
}

static void say_limits(void) {
  for (int resource = 0; resource < 16; resource++) {
    struct rlimit limit;
    getrlimit((__rlimit_resource_t)resource, &limit);
    say("limit.%d=%llu:%llu\n", resource, (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
  }
}

static void say_keyring(void) {
  char description[256] = "";
  long id = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
  syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, description, sizeof description - 1);
  int32_t keys[16];
  long size = syscall(SYS_keyctl, KEYCTL_READ, KEY_SPEC_SESSION_KEYRING, keys, sizeof keys);
  say("keyring=%ld\nkeyring.description=%s\nkeyring.bytes=%ld\n", id, description, size);
}

/* How far its clocks are from the host's, and the namespaces that they are of. */
static void say_time(void) {
  static const char *const names[] = {"time", "time_for_children"};
  char path[64], text[256];
  for (int index = 0; index < 2; index++) {
    snprintf(path, sizeof path, "/proc/self/ns/%s", names[index]);
    ssize_t size = readlink(path, text, sizeof text - 1);
    text[size < 0 ? 0 : size] = 0;
    say("%s=%s\n", names[index], text);
  }
  FILE *file = fopen("/proc/self/timens_offsets", "r");
  char name[16];
  long long seconds, nanoseconds;
  while (file && fscanf(file, "%15s %lld %lld", name, &seconds, &nanoseconds) == 3)
    say("offset.%s=%lld %lld\n", name, seconds, nanoseconds);
  if (file) fclose(file);
}

static void say_attempts(void) {
  say("attempt.setresuid=%d\n", setresuid(0, 0, 0) == 0 ? 0 : errno);
  say("attempt.setresgid=%d\n", setresgid(0, 0, 0) == 0 ? 0 : errno);
  int shadow = open("/etc/shadow", O_RDONLY);
  say("attempt.shadow=%d\n", shadow < 0 ? errno : 0);
}

int main(int argc, char **argv, char **environment) {
  int engine = argc == 3 && strcmp(argv[1], "swrk") == 0;
  /* Where the copy of the control socket has its number, as the library of engines would find it. */
  const char *ready = getenv("CRIU_SERVICE_READY");
  int connection = ready && strcmp(ready, "3") == 0 ? 4 : 3;
  for (int index = 0; index < argc; index++) say("argument.%d=%s\n", index, argv[index]);
  for (int index = 0; environment[index]; index++) say("environment.%d=%s\n", index, environment[index]);
  say_fds();
  say_status();
  say_limits();
  say_scheduling();
  say_file("coredump_filter");
  say_file("oom_score_adj");
  say_file("loginuid");
  say_file("sessionid");
  say_keyring();
  say_time();
  char directory[256];
  say("directory=%s\n", getcwd(directory, sizeof directory) ? directory : "");
  say("securebits=%d\n", prctl(PR_GET_SECUREBITS));
  say("dumpable=%d\n", prctl(PR_GET_DUMPABLE));
  say("secure=%lu\n", getauxval(AT_SECURE));
  say("pid=%d\n", getpid());
  if (engine) {
    struct {
      int pid;
      unsigned int uid, gid;
    } peer = {0};
    socklen_t size = sizeof peer;
    getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size);
    say("peer=%d %u %u\n", peer.pid, peer.uid, peer.gid);
    say("socket.flags=%d\n", fcntl(connection, F_GETFL) & O_NONBLOCK);
  }
  say_attempts();
  int fd = engine ? connection : 1;
  for (size_t sent = 0; sent < used;) {
    /* Packets that fit into an unread socket. */
    size_t size = used - sent < 32768 ? used - sent : 32768;
    if (write(fd, lines + sent, size) != (ssize_t)size) return 71;
    sent += size;
  }
  return 0;
}
