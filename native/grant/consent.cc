#include "consent.h"

#include <grp.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "report.h"

namespace criu_service::grant {
namespace {

bool GiveUpEverything(const Parameters& parameters) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  const uid_t uid = parameters.uid;
  const gid_t gid = parameters.gid;
  return ::setgroups(0, nullptr) == 0 && ::setresgid(gid, gid, gid) == 0 &&
         ::setresuid(uid, uid, uid) == 0 && ::syscall(SYS_capset, &header, none) == 0 &&
         // A change of ids clears this, so it comes last: a program that was too late leaves no
         // process behind.
         ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
}

// The process is not dumpable since its ids changed, so the caller cannot trace it. The caller may
// send it any signal.
[[noreturn]] void Ask(const Tree& tree, uint32_t first, uint32_t count,
                      const Parameters& parameters, pid_t parent, volatile bool* answers) {
  BecomeSilent();
  if (!GiveUpEverything(parameters) || ::getppid() != parent) ::_exit(1);
  for (uint32_t index = 0; index < count; ++index) {
    answers[index] = ::ptrace(PTRACE_SEIZE, tree.At(first + index).pid, nullptr, nullptr) == 0;
  }
  // Lets go of them all.
  ::_exit(0);
}

}  // namespace

Consent RelationTo(const Task& caller, const Task& process) {
  if (process.pid == caller.pid) return IsThere(caller) ? Consent::kSelf : Consent::kUnasked;
  Task child{process.pid, ::dup(process.directory)};
  Status status{};
  while (ReadStatus(child, &status) && status.parent > 0) {
    const pid_t pid = status.parent;
    const Task parent{pid, pid == caller.pid ? ::dup(caller.directory) : OpenProcess(pid)};
    // Named again after the directory was opened, and there after that: so it is the parent's.
    const bool is_parent = parent.directory != -1 && ReadStatus(child, &status) &&
                           status.parent == pid && IsThere(parent);
    ::close(child.directory);
    child = parent;
    if (!is_parent) break;
    if (pid == caller.pid) {
      ::close(child.directory);
      return Consent::kDescendant;
    }
  }
  if (child.directory != -1) ::close(child.directory);
  return Consent::kUnasked;
}

void AskKernel(const Tree& tree, uint32_t first, uint32_t count, const Parameters& parameters,
               bool* may_trace) {
  void* const shared =
      ::mmap(nullptr, kMostTasks, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) Refuse(Fault::kSelf, 0, errno);
  static_assert(sizeof(bool) == 1);
  const pid_t own = ::getpid();
  const pid_t child = ::fork();
  if (child == -1) Refuse(Fault::kSelf, 0, errno);
  if (child == 0) Ask(tree, first, count, parameters, own, static_cast<bool*>(shared));
  int status = 0;
  while (::waitpid(child, &status, 0) == -1 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    Refuse(Fault::kAskerEnded, tree.At(first).pid);
  }
  for (uint32_t index = 0; index < count; ++index) {
    // While the process is there, its pid was no other's.
    may_trace[index] = static_cast<const bool*>(shared)[index] && IsThere(tree.At(first + index));
  }
  ::munmap(shared, kMostTasks);
}

}  // namespace criu_service::grant
