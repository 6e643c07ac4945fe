#include "spawn.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>

#include "error.h"
#include "kernel.h"

namespace criu_service {
namespace {

constexpr int kLastSignal = 64;
// The child makes a dozen system calls, and its deepest frame is small. The page below the stack is
// inaccessible, so an overflow faults instead of overwriting our memory.
constexpr size_t kStackSize = size_t{64} * 1024;
constexpr size_t kGuardSize = size_t{64} * 1024;  // A page, even where pages have 64 KiB.

// The kernel's signal set and struct sigaction. glibc's are different: glibc refuses to touch
// signals 32 and 33, which it uses itself. All zero is SIG_DFL with no flags on every architecture;
// the real struct is at most this large.
using KernelSignalSet = uint64_t;
constexpr size_t kKernelSignalSetSize = sizeof(KernelSignalSet);
using KernelSigaction = std::array<uint64_t, 8>;

void SetSignalMask(KernelSignalSet mask, KernelSignalSet* old) {
  // Cannot fail: the pointers are valid and so is SIG_SETMASK, see sigprocmask(2).
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, old, kKernelSignalSetSize);
}

class BlockedSignals {
 public:
  BlockedSignals() { SetSignalMask(~KernelSignalSet{0}, &old_); }
  ~BlockedSignals() { SetSignalMask(old_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  KernelSignalSet old_ = 0;
};

class ChildStack {
 public:
  ChildStack()
      : base_(::mmap(nullptr, kGuardSize + kStackSize, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0)) {
    if (IsValid() && ::mprotect(base_, kGuardSize, PROT_NONE) == -1) Unmap();
  }
  ~ChildStack() { Unmap(); }
  ChildStack(const ChildStack&) = delete;
  ChildStack& operator=(const ChildStack&) = delete;

  bool IsValid() const { return base_ != MAP_FAILED; }
  void* Base() const { return static_cast<char*>(base_) + kGuardSize; }
  // The stack grows down on every architecture that CRIU runs on.
  void* Top() const { return static_cast<char*>(Base()) + kStackSize; }

 private:
  void Unmap() {
    const int saved = errno;
    if (IsValid()) ::munmap(base_, kGuardSize + kStackSize);
    base_ = MAP_FAILED;
    errno = saved;
  }

  void* base_;
};

// The child's parameters and its result. The struct lies in the parent's frame, because the parent
// waits.
struct Child {
  const char* file;
  char* const* arguments;
  char* const* environment;
  const char* directory;
  mode_t umask;
  const FdPlacement* fds;
  size_t fd_count;
  int* moved;  // fd_count numbers.
  int cgroup;  // A cgroup that the child must enter itself, or -1.
  const char* failed_step = nullptr;
  int failure = 0;
};

// Everything below runs in the child, on our memory and beside our other threads. It may only make
// system calls: no allocation, no lock, no libc function with a state of its own. errno is that of
// the parent thread, which waits. AddressSanitizer does not know this stack.
#define IN_CHILD __attribute__((no_sanitize("address", "undefined")))

IN_CHILD bool Fail(Child* child, const char* step) {
  child->failure = errno;
  child->failed_step = step;
  return false;
}

// Node ignores SIGPIPE and SIGXFSZ, and exec(2) keeps ignored signals. CRIU must not inherit that.
IN_CHILD bool ResetSignals(Child* child) {
  const KernelSigaction by_default = {};
  for (int signal = 1; signal <= kLastSignal; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    if (::syscall(SYS_rt_sigaction, signal, &by_default, nullptr, kKernelSignalSetSize) == -1) {
      return Fail(child, "rt_sigaction");
    }
  }
  return true;
}

// Marks descriptors close-on-exec instead of closing them: close(2) can block for as long as a FUSE
// server likes, while our parent waits. exec releases the parent first and closes afterwards
// (begin_new_exec in fs/exec.c).
IN_CHILD bool CloseRange(Child* child, unsigned int first, unsigned int last) {
  if (first > last) return true;
  if (::syscall(SYS_close_range, first, last, CLOSE_RANGE_CLOEXEC) == 0) return true;
  // Linux 5.9 and 5.10 have close_range(2), but not the flag.
  if (errno == EINVAL && ::syscall(SYS_close_range, first, last, 0U) == 0) return true;
  return Fail(child, "close_range");
}

// A source may have the number of another target. So all sources first move above the highest
// target, and then down to their places.
IN_CHILD bool PlaceFds(Child* child) {
  const int above = child->fd_count == 0 ? 0 : child->fds[child->fd_count - 1].target + 1;
  for (size_t index = 0; index < child->fd_count; ++index) {
    child->moved[index] =
        static_cast<int>(::syscall(SYS_fcntl, child->fds[index].source, F_DUPFD_CLOEXEC, above));
    if (child->moved[index] == -1) return Fail(child, "fcntl");
  }
  // The targets ascend, so all numbers between two of them are unused.
  unsigned int next = 0;
  for (size_t index = 0; index < child->fd_count; ++index) {
    const int target = child->fds[index].target;
    // dup3 without O_CLOEXEC, as dup2: the copy survives exec.
    if (::syscall(SYS_dup3, child->moved[index], target, 0) == -1) return Fail(child, "dup2");
    const auto number = static_cast<unsigned int>(target);
    if (number > 0 && !CloseRange(child, next, number - 1)) return false;
    next = number + 1;
  }
  return CloseRange(child, next, UINT_MAX);
}

// The kernel takes some milliseconds (cgroup_procs_write_start waits for an RCU grace period), and
// the parent waits with it.
IN_CHILD bool EnterCgroup(Child* child) {
  const long procs = ::syscall(SYS_openat, child->cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC, 0);
  if (procs == -1) return Fail(child, "openat");
  return ::syscall(SYS_write, procs, "0", 1) == 1 || Fail(child, "write");
}

IN_CHILD int RunChild(void* data) {
  auto* child = static_cast<Child*>(data);
  // Reset dispositions before the mask is lifted: a pending signal must not run Node's handler in
  // the child.
  bool ready = ResetSignals(child);
  if (ready && child->cgroup != -1) ready = EnterCgroup(child);
  if (ready && ::syscall(SYS_setsid) == -1) ready = Fail(child, "setsid");
  if (ready && ::syscall(SYS_chdir, child->directory) == -1) ready = Fail(child, "chdir");
  if (ready) {
    ::syscall(SYS_umask, child->umask);
    ready = PlaceFds(child);
  }
  if (ready) {
    SetSignalMask(0, nullptr);
    ::syscall(SYS_execve, child->file, child->arguments, child->environment);
    Fail(child, "execve");
  }
  ::syscall(SYS_exit_group, 127);
  __builtin_unreachable();
}

// CLONE_VFORK: the parent waits until the child has called exec or exited. CLONE_PIDFD (Linux 5.2):
// a CLOEXEC descriptor for the child, without a moment in which its pid could be reused.
constexpr int kCloneFlags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD;

// clone3(2), which has no public wrapper in libc. A child that is born in `cgroup` need not be
// moved there (CLONE_INTO_CGROUP, Linux 5.7). The child begins on an empty stack, so its data is in
// registers until it has called RunChild, which does not return. Returns the child's pid, or a
// negative errno: ENOSYS if the kernel lacks the call or this file lacks code for the architecture,
// and EPERM under some seccomp filters.
long CloneInto(const ChildStack& stack, Child* child, int cgroup, int* pidfd) {
#if defined(CLONE_INTO_CGROUP) && (defined(__x86_64__) || defined(__aarch64__))
  clone_args args{};
  args.flags = static_cast<uint64_t>(kCloneFlags) | CLONE_INTO_CGROUP;
  args.pidfd = reinterpret_cast<uintptr_t>(pidfd);
  args.exit_signal = SIGCHLD;
  args.stack = reinterpret_cast<uintptr_t>(stack.Base());
  args.stack_size = kStackSize;
  args.cgroup = static_cast<uint64_t>(cgroup);
#if defined(__x86_64__)
  long result = SYS_clone3;
  __asm__ volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %[child], %%rdi\n\t"
      "call *%[run]\n\t"
      "hlt\n"
      "1:"
      : "+a"(result)
      : "D"(&args), "S"(sizeof args), [run] "d"(&RunChild), [child] "b"(child)
      : "rcx", "r11", "memory", "cc");
  return result;
#else
  register long number __asm__("x8") = SYS_clone3;
  register long result __asm__("x0") = reinterpret_cast<long>(&args);
  register size_t size __asm__("x1") = sizeof args;
  register int (*run)(void*) __asm__("x2") = &RunChild;
  register Child* data __asm__("x3") = child;
  __asm__ volatile(
      "svc #0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, xzr\n\t"
      "mov x0, %[child]\n\t"
      "blr %[run]\n\t"
      "brk #1\n"
      "1:"
      : "+r"(result)
      : "r"(number), "r"(size), [run] "r"(run), [child] "r"(data)
      : "x30", "memory", "cc");
  return result;
#endif
#else
  static_cast<void>(stack), static_cast<void>(child), static_cast<void>(cgroup);
  static_cast<void>(pidfd);
  return -ENOSYS;
#endif
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  // execve(2) takes char* for historical reasons and changes nothing.
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// The child has reported its failure, and is or soon becomes a zombie.
void Reap(int pidfd) {
  const int saved = errno;
  siginfo_t info{};
  RetryOnSignal([&] { return ::waitid(kWaitByPidfd, static_cast<id_t>(pidfd), &info, WEXITED); });
  errno = saved;
}

}  // namespace

Spawned Spawn(const SpawnPlan& plan) {
  const std::vector<char*> arguments = Pointers(plan.arguments);
  const std::vector<char*> environment = Pointers(plan.environment);
  std::vector<int> moved(plan.fds.size(), -1);
  Child child{plan.file.c_str(),      arguments.data(), environment.data(),
              plan.directory.c_str(), plan.umask,       plan.fds.data(),
              plan.fds.size(),        moved.data(),     -1};
  Spawned spawned;
  const ChildStack stack;
  if (!stack.IsValid()) {
    spawned.failure = errno;
    spawned.failed_step = "mmap";
    return spawned;
  }

  int pidfd = -1;
  {
    // A signal handler in the child would run on our memory as if it were us.
    const BlockedSignals blocked;
    const long born = plan.cgroup == -1 ? -ENOSYS : CloneInto(stack, &child, plan.cgroup, &pidfd);
    if (born == -ENOSYS || born == -EPERM) {
      child.cgroup = plan.cgroup;
      spawned.pid = ::clone(RunChild, stack.Top(), kCloneFlags | SIGCHLD, &child, &pidfd);
      if (spawned.pid == -1) {
        spawned.failure = errno;
        spawned.failed_step = "clone";
      }
    } else if (born < 0) {
      spawned.failure = static_cast<int>(-born);
      spawned.failed_step = "clone3";
    } else {
      spawned.pid = static_cast<pid_t>(born);
    }
  }
  if (spawned.pid == -1) return spawned;

  spawned.pidfd.Reset(pidfd);
  if (child.failed_step != nullptr) {
    Reap(pidfd);
    spawned.pidfd.Reset();
    spawned.pid = -1;
    spawned.failed_step = child.failed_step;
    spawned.failure = child.failure;
  }
  return spawned;
}

}  // namespace criu_service
