/* A caller with the traits that its arguments name (KEY=VALUE), set as root. Then it executes
 * itself with its new identity and obeys the lines on stdin: `child` runs an ordinary child (the
 * program $REPORT), `probe PID` tries to look into a process, `open PATH`, `open-path PATH`
 * (O_PATH) and `socket` make a descriptor, `fork` starts another waiting process, `become PATH`
 * executes another program. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(int holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "caller: %s: %s\n", what, strerror(errno));
  _exit(1);
}

static void write_own(const char *name, const char *text) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/%s", name);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  must(fd >= 0, name);
  must(write(fd, text, strlen(text)) == (ssize_t)strlen(text), name);
  close(fd);
}

static void set_capabilities(uint64_t permitted, uint64_t inheritable) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  for (int half = 0; half < 2; half++) {
    data[half].permitted = data[half].effective = (uint32_t)(permitted >> (32 * half));
    data[half].inheritable = (uint32_t)(inheritable >> (32 * half));
  }
  must(syscall(SYS_capset, &header, data) == 0, "capset");
}

static uint64_t all_capabilities(void) {
  uint64_t set = 0;
  for (int capability = 0; capability < 64 && prctl(PR_CAPBSET_READ, capability) >= 0; capability++)
    if (prctl(PR_CAPBSET_READ, capability) == 1) set |= (uint64_t)1 << capability;
  return set;
}

static void become(char **traits) {
  uint64_t bounding = all_capabilities(), inheritable = 0, ambient = 0;
  static gid_t groups[65536];
  size_t group_count = 0;
  unsigned int uid = 0, gid = 0;
  int no_new_privs = 0;
  struct rlimit limits[16];
  unsigned int has_limit = 0;
  for (; *traits; traits++) {
    char *value = strchr(*traits, '=');
    must(value != NULL, *traits);
    size_t length = (size_t)(value++ - *traits);
#define IS(name) (length == strlen(name) && strncmp(*traits, name, length) == 0)
    if (IS("uid")) uid = (unsigned int)strtoul(value, NULL, 10);
    if (IS("gid")) gid = (unsigned int)strtoul(value, NULL, 10);
    if (IS("groups"))
      for (char *next = strtok(value, ","); next; next = strtok(NULL, ","))
        groups[group_count++] = (gid_t)strtoul(next, NULL, 10);
    if (IS("bounding")) bounding = strtoull(value, NULL, 16);
    if (IS("inheritable")) inheritable = strtoull(value, NULL, 16);
    if (IS("ambient")) ambient = strtoull(value, NULL, 16);
    if (IS("no-new-privs")) no_new_privs = 1;
    if (IS("umask")) umask((mode_t)strtoul(value, NULL, 8));
    if (IS("nice")) must(setpriority(PRIO_PROCESS, 0, atoi(value)) == 0, "setpriority");
    if (IS("policy")) {
      int policy = (int)strtol(value, &value, 10);
      struct sched_param parameter = {atoi(value + 1)};
      must(sched_setscheduler(0, policy, &parameter) == 0, "sched_setscheduler");
    }
    if (IS("ioprio")) must(syscall(SYS_ioprio_set, 1, 0, atoi(value)) == 0, "ioprio_set");
    if (IS("cpu")) {
      cpu_set_t set;
      CPU_ZERO(&set);
      CPU_SET((size_t)atoi(value), &set);
      must(sched_setaffinity(0, sizeof set, &set) == 0, "sched_setaffinity");
    }
    if (IS("oom")) write_own("oom_score_adj", value);
    if (IS("coredump")) write_own("coredump_filter", value);
    if (IS("loginuid")) write_own("loginuid", value);
    if (IS("limit")) {
      int resource = (int)strtol(value, &value, 10);
      limits[resource].rlim_cur = strtoull(value + 1, &value, 10);
      limits[resource].rlim_max = strtoull(value + 1, NULL, 10);
      has_limit |= 1U << resource;
    }
    if (IS("ignore")) signal(atoi(value), SIG_IGN);
    if (IS("keyring")) {
      must(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, value) != -1, "keyctl");
      must(syscall(SYS_add_key, "user", "criu-service-test", "x", 1, KEY_SPEC_SESSION_KEYRING) != -1, "add_key");
    }
  }
  uint64_t own = all_capabilities();
  set_capabilities(own, inheritable);
  for (int capability = 0; capability < 64; capability++)
    if ((own & ~bounding) >> capability & 1) must(prctl(PR_CAPBSET_DROP, capability) == 0, "PR_CAPBSET_DROP");
  for (int resource = 0; resource < 16; resource++)
    if (has_limit >> resource & 1)
      must(setrlimit((__rlimit_resource_t)resource, &limits[resource]) == 0, "setrlimit");
  must(prctl(PR_SET_KEEPCAPS, 1) == 0, "PR_SET_KEEPCAPS");
  must(setgroups(group_count, groups) == 0, "setgroups");
  must(setresgid(gid, gid, gid) == 0, "setresgid");
  must(setresuid(uid, uid, uid) == 0, "setresuid");
  set_capabilities(ambient, inheritable);
  for (int capability = 0; capability < 64; capability++)
    if (ambient >> capability & 1)
      must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) == 0, "PR_CAP_AMBIENT_RAISE");
  if (no_new_privs) must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS");
}

static int outcome(long result) { return result < 0 ? errno : 0; }

static void probe(pid_t pid) {
  char path[64];
  int attach = outcome(ptrace(PTRACE_SEIZE, pid, 0, 0));
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  DIR *directory = opendir(path);
  int fds = directory ? 0 : errno;
  snprintf(path, sizeof path, "/proc/%d/mem", pid);
  int memory = outcome(open(path, O_RDONLY | O_CLOEXEC));
  int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  int taken = outcome(syscall(SYS_pidfd_getfd, pidfd, 32, 0));
  printf("ptrace=%d fds=%d memory=%d getfd=%d\n", attach, fds, memory, taken);
  if (directory) closedir(directory);
  close(pidfd);
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "serve") != 0) {
    become(argv + 1);
    /* Executing makes the process dumpable again, like any program that a login shell runs. */
    execl(argv[0], argv[0], "serve", (char *)NULL);
    must(0, "execl");
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("ready\n");
  char line[4096];
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    char *argument = strchr(line, ' ');
    if (argument) *argument++ = 0;
    if (strcmp(line, "child") == 0) {
      pid_t child = fork();
      if (child == 0) {
        execl(getenv("REPORT"), "report", (char *)NULL);
        _exit(1);
      }
      if (child < 0) printf("fork=%d\n", errno);
      else waitpid(child, NULL, 0);
    } else if (strcmp(line, "probe") == 0) {
      probe(atoi(argument));
    } else if (strcmp(line, "open") == 0 || strcmp(line, "open-path") == 0) {
      int fd = open(argument, line[4] == 0 ? O_RDWR | O_NONBLOCK : O_PATH);
      if (fd < 0 && errno == EISDIR) fd = open(argument, O_RDONLY);
      printf("%d\n", fd < 0 ? -errno : fd);
    } else if (strcmp(line, "fork") == 0) {
      pid_t child = fork();
      if (child == 0)
        for (;;) {
          prctl(PR_SET_PDEATHSIG, 9);
          pause();
        }
      printf("%d\n", child < 0 ? -errno : child);
    } else if (strcmp(line, "undumpable") == 0) {
      printf("%d\n", prctl(PR_SET_DUMPABLE, 0));
    } else if (strcmp(line, "become") == 0) {
      printf("done\n.\n");
      fflush(stdout);
      execl(argument, argument, "serve", (char *)NULL);
      must(0, "become");
    }
    printf(".\n");
  }
  return 0;
}
