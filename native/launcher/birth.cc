#include "birth.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "report.h"

namespace criu_service::launcher {
namespace {

// A seccomp filter around the service may hide clone3(2).
bool IsHidden(int error) { return error == ENOSYS || error == EPERM; }

// The kernel takes some milliseconds to move a process.
void EnterCgroup() {
  const int procs = ::openat(kCgroupFd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
  Require(procs != -1, Step::kCgroup);
  Require(::write(procs, "0", 1) == 1, Step::kCgroup);
  ::close(procs);
}

// As fork(2): 0 in the new process. CLONE_PARENT: the new process is the service's child, as we
// are.
long CloneIntoCgroup(int* pidfd) {
  clone_args args{};
  args.flags = CLONE_INTO_CGROUP | CLONE_PARENT | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uintptr_t>(pidfd);
  args.cgroup = kCgroupFd;
  const long born = ::syscall(SYS_clone3, &args, sizeof args);
  if (born != -1 || !IsHidden(errno)) return born;
  const long moved = ::syscall(SYS_clone, CLONE_PARENT | CLONE_PIDFD, nullptr, pidfd, nullptr, 0);
  if (moved == 0) EnterCgroup();
  return moved;
}

}  // namespace

// The cgroup may be frozen, or without time on any processor. The service started us in its own
// cgroup, because it waits until we are executed; it never waits for the new process.
// Neither waits for the other: the report of the birth may come after the first answer, and without
// it the service uses no engine.
void BeBornInCgroup() {
  if (::fcntl(kCgroupFd, F_GETFD) == -1) return;
  int pidfd = -1;
  const long pid = CloneIntoCgroup(&pidfd);
  Require(pid != -1, Step::kCgroup);
  if (pid != 0) {
    SendBorn(pid, pidfd);
    ::_exit(0);
  }
  ::close(kCgroupFd);
}

}  // namespace criu_service::launcher
