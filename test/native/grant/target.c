// A process that is made to name an engine, and tells what became of what it did meanwhile.
//
//   target [PREPARATION...] ACT   prints `ready` before its act, and one line about it afterwards
//   target again COUNT            executes itself COUNT times; the file is setuid
//   target again COUNT thread     by another thread than its first
//   target flood                  sends SIGALRM to every process of its user
//   target flood-stop             SIGSTOP
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#if defined(__x86_64__) && __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t handled;
static volatile sig_atomic_t go;
static int word;
static const char* own_path;

static void on_signal(int signal) {
  (void)signal;
  ++handled;
}

static void on_go(int signal) {
  (void)signal;
  go = 1;
}

static void ready(void) {
  puts("ready");
  fflush(stdout);
}

static void told(const char* what, long result) {
  printf("%s %ld %s\n", what, result, result == -1 ? strerror(errno) : "");
  fflush(stdout);
}

static void handle(int signal, void (*handler)(int), int flags) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
  sigaction(signal, &action, NULL);
}

static struct timespec seconds(long count) { return (struct timespec){.tv_sec = count}; }

// Whatever is changed in a register comes out at the end.
static uint64_t compute(uint64_t rounds) {
  uint64_t a = 1, b = 2, c = 3, d = 4, e = 5, f = 6;
  double x = 1.0, y = 2.0;
  for (uint64_t at = 0; at < rounds; ++at) {
    a = a * 6364136223846793005u + b;
    b ^= c >> 7;
    c += d * 3;
    d = (d << 5) | (d >> 59);
    e -= a;
    f ^= e + at;
    x = x * 1.0000001 + y;
    y = x / 3.0;
    if (x > 1e100) x = 1.0;
  }
  return a ^ b ^ c ^ d ^ e ^ f ^ (uint64_t)x ^ (uint64_t)y;
}

static void* wake_later(void* unused) {
  (void)unused;
  char byte;
  if (read(0, &byte, 1) == 1) {
    __atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
  }
  return NULL;
}

// The criu-grant that reads them takes some time.
static void map_much(void) {
  for (int at = 0; at < 30000; ++at) {
    char* const two = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (two != MAP_FAILED) mprotect(two, 4096, PROT_NONE);
  }
}

// Puts every thread under a filter when a byte comes. Then answers each prctl(2), in place of the kernel, when another byte comes.
static void* supervise(void* flags) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {4, filter};
  char byte;
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (read(0, &byte, 1) != 1) return NULL;
  const int calls = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, *(const unsigned*)flags, &program);
  for (;;) {
    struct seccomp_notif call = {0};
    if (ioctl(calls, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) return NULL;
    told("call", (long)call.data.args[1]);
    if (read(0, &byte, 1) != 1) return NULL;
    struct seccomp_notif_resp answer = {.id = call.id};
    ioctl(calls, SECCOMP_IOCTL_NOTIF_SEND, &answer);
  }
}

#ifdef RSEQ_SIG
// A restartable sequence that ends only when the kernel aborts it.
static void spin(void) {
  char* const own = (char*)__builtin_thread_pointer() + __rseq_offset;
  __asm__ volatile(
      ".pushsection __rseq_cs, \"aw\"\n\t"
      ".balign 32\n"
      "3: .long 0, 0\n\t"
      ".quad 1f, 2f - 1f, 4f\n\t"
      ".popsection\n\t"
      "leaq 3b(%%rip), %%rax\n\t"
      "movq %%rax, 8(%0)\n"
      "1: pause\n\t"
      "jmp 1b\n"
      "2: .byte 0x0f, 0xb9, 0x3d\n\t"
      ".long 0x53053053\n"
      "4:"
      :
      : "r"(own)
      : "rax", "memory", "cc");
}
#endif

static void prepare(const char* state) {
  if (strcmp(state, "not-dumpable") == 0) {
    prctl(PR_SET_DUMPABLE, 0);
  } else if (strcmp(state, "filter") == 0) {
    struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {1, &all};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
  } else if (strcmp(state, "namespace") == 0) {
    unshare(CLONE_NEWUSER);
    // As after unshare --user --map-current-user.
    prctl(PR_SET_DUMPABLE, 1);
  } else if (strcmp(state, "dispatch") == 0) {
    static char selector;
    prctl(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 1, 0, 0, &selector);
  } else if (strcmp(state, "no-vdso") == 0) {
    char line[512];
    unsigned long start, end;
    FILE* maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps)) {
      if (strstr(line, "[vdso]") && sscanf(line, "%lx-%lx", &start, &end) == 2) break;
    }
    fclose(maps);
    munmap((void*)start, end - start);
  } else if (strcmp(state, "vdso-in-file") == 0) {
    // The file is named `x [vdso]`, and lies beside this program.
    char path[512];
    snprintf(path, sizeof path, "%.*sx [vdso]", (int)(strrchr(own_path, '/') + 1 - own_path), own_path);
    prepare("no-vdso");
    const int file = open(path, O_RDONLY);
    if (mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0) == MAP_FAILED) exit(1);
  } else if (strcmp(state, "large") == 0) {
    const size_t size = (size_t)256 << 20;
    char* const memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(memory, size, MADV_NOHUGEPAGE);
    for (size_t at = 0; at < size; at += 4096) memory[at] = 1;
#if defined(__x86_64__)
  } else if (strcmp(state, "segment") == 0) {
    // The data segment with the privilege level 0 in its selector: an instruction may load it, a tracer not.
    __asm__ volatile("movw %w0, %%es" : : "r"(0x28));
  } else if (strcmp(state, "sequence-in-file") == 0) {
    const int file = (int)syscall(SYS_memfd_create, "sequence", 0);
    if (ftruncate(file, 4096) != 0) exit(1);
    void* const area = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (syscall(SYS_rseq, area, 32, 0, 0x53053053) != 0) exit(1);
#endif
  } else if (strcmp(state, "ignore-alarm") == 0) {
    signal(SIGALRM, SIG_IGN);
  } else if (strcmp(state, "ignore-trap") == 0) {
    signal(SIGTRAP, SIG_IGN);
  } else if (strcmp(state, "block") == 0) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTRAP);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR2);
  } else if (strcmp(state, "handle") == 0) {
    handle(SIGRTMIN + 3, on_signal, SA_RESTART);
  }
}

static void act(const char* state) {
  char byte;
  // Longer than all questions take.
  struct timespec delay = seconds(10);
  handle(SIGUSR1, on_go, 0);
  if (strcmp(state, "sleep") == 0) {
    ready();
    told("nanosleep", nanosleep(&delay, NULL));
  } else if (strcmp(state, "poll") == 0) {
    struct pollfd input = {0, POLLIN, 0};
    ready();
    told("poll", poll(&input, 1, 60000));
  } else if (strcmp(state, "poll-out") == 0) {
    ready();
    told("poll", poll(NULL, 0, 10000));
  } else if (strcmp(state, "ppoll") == 0) {
    // The signal that the parent sends is let in by the call alone.
    sigset_t blocked, none;
    sigfillset(&none);
    sigdelset(&none, SIGUSR1);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    delay = seconds(600);
    ready();
    const int result = ppoll(NULL, 0, &delay, &none);
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    printf("ppoll %d %s blocked %d\n", result, strerror(errno), sigismember(&blocked, SIGUSR1));
  } else if (strcmp(state, "read") == 0) {
    ready();
    told("read", read(0, &byte, 1));
  } else if (strcmp(state, "futex") == 0) {
    pthread_t thread;
    pthread_create(&thread, NULL, wake_later, NULL);
    delay = seconds(600);
    ready();
    told("futex", syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &delay, NULL, 0));
    pthread_join(thread, NULL);
  } else if (strcmp(state, "futex-out") == 0) {
    ready();
    told("futex", syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &delay, NULL, 0));
  } else if (strcmp(state, "compute") == 0) {
    const uint64_t right = compute(100000);
    uint64_t rounds = 0;
    ready();
    while (!go) {
      ++rounds;
      if (compute(100000) != right) {
        puts("wrong");
        fflush(stdout);
        return;
      }
    }
    printf("right %d\n", rounds > 0);
#ifdef RSEQ_SIG
  } else if (strcmp(state, "sequence") == 0) {
    ready();
    while (!go) spin();
    told("aborted", 1);
#endif
  } else if (strcmp(state, "signals") == 0) {
    ready();
    while (!go) getppid();
    printf("handled %d\n", (int)handled);
  } else if (strcmp(state, "held") == 0 || strcmp(state, "held-fast") == 0) {
    // TSYNC, NEW_LISTENER and TSYNC_ESRCH; WAIT_KILLABLE_RECV: no signal but SIGKILL ends the wait for the answer.
    static unsigned flags = 1 << 0 | 1 << 3 | 1 << 4;
    if (strcmp(state, "held-fast") == 0) flags |= 1 << 5;
    sigset_t all, none;
    pthread_t thread;
    sigfillset(&all);
    sigemptyset(&none);
    map_much();
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    pthread_create(&thread, NULL, supervise, &flags);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    ready();
    pause();
    told("own call", prctl(PR_GET_DUMPABLE, 1));
  } else if (strcmp(state, "vfork") == 0) {
    ready();
    const pid_t child = vfork();
    if (child == 0) {
      read(0, &byte, 1);
      _exit(7);
    }
    int status = 0;
    waitpid(child, &status, 0);
    told("child", WEXITSTATUS(status));
  } else if (strcmp(state, "flood") == 0) {
    ready();
    while (getppid() != 1) kill(-1, SIGALRM);
  } else if (strcmp(state, "flood-stop") == 0) {
    ready();
    while (getppid() != 1) kill(-1, SIGSTOP);
  } else if (strcmp(state, "tree") == 0) {
    // Children and grandchildren. Each tells that it is there.
    int told_of[2];
    if (pipe(told_of) != 0) exit(1);
    for (int at = 0; at < 3; ++at) {
      if (fork() == 0) {
        for (int deeper = 0; deeper < 3; ++deeper) {
          if (fork() == 0) break;
        }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (write(told_of[1], "x", 1) != 1) exit(1);
        for (;;) pause();
      }
    }
    for (int at = 0; at < 12; ++at) {
      if (read(told_of[0], &byte, 1) != 1) exit(1);
    }
    ready();
    read(0, &byte, 1);
    kill(0, SIGTERM);
  }
}

static void* execute_again(void* words) {
  execv("/proc/self/exe", words);
  return NULL;
}

// The setuid program: back to its user, and on.
static int again(char** argv) {
  const long left = strtol(argv[2], NULL, 10);
  char next[32];
  const uid_t uid = getuid();
  if (setresuid(uid, uid, uid) != 0) return 1;
  prctl(PR_SET_DUMPABLE, 1);
  if (left == 0) {
    puts("through");
    return 0;
  }
  snprintf(next, sizeof next, "%ld", left - 1);
  char* words[] = {argv[0], argv[1], next, argv[3], NULL};
  if (argv[3] == NULL) {
    execute_again(words);
  } else {
    pthread_t thread;
    if (pthread_create(&thread, NULL, execute_again, words) == 0) pthread_join(thread, NULL);
  }
  return 1;
}

int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  // Some targets compute for ever, and tests may be killed.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  own_path = argv[0];
  if (argc > 2 && strcmp(argv[1], "again") == 0) return again(argv);
  for (int at = 1; at < argc - 1; ++at) prepare(argv[at]);
  act(argv[argc - 1]);
  fflush(stdout);
  return 0;
}
