// criu-grant: started as root by the service for one dump under Yama's ptrace_scope 1, where a
// process may trace only its descendants, and processes that have named it (PR_SET_PTRACER). An
// engine is no ancestor of the tree that it dumps. This program lets each process of the tree name
// it. That takes nothing but Yama's objection away, and ends with the engine: every other rule
// (owner, dumpable, label) the kernel applies to the engine, which never holds CAP_SYS_PTRACE.
//
// The user owns the tree, and may change it at any moment: end it, fork, execute a setuid program,
// replace the code that is executed here. So each process is known by its directory in /proc, and
// counts for its state while it is stopped (call.cc).
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <cstdint>

#include "call.h"
#include "consent.h"
#include "protocol.h"
#include "report.h"
#include "task.h"

namespace criu_service::grant {
namespace {

// Enough for a tree that is still being built up.
constexpr int kMostReadings = 16;

Parameters Receive() {
  Parameters parameters{};
  // MSG_TRUNC returns the packet's true size.
  const ssize_t size = ::recv(kControlFd, &parameters, sizeof parameters, MSG_TRUNC);
  const bool is_right = size == sizeof parameters && parameters.magic == kMagic &&
                        parameters.version == kVersion && (parameters.flags & ~kKnownFlags) == 0 &&
                        parameters.engine > 1 && parameters.caller > 1 && parameters.root > 1 &&
                        parameters.uid != 0 && parameters.uid != UINT32_MAX &&
                        parameters.gid != UINT32_MAX;
  if (!is_right) Refuse(Fault::kParameters, 0, size == -1 ? errno : EINVAL);
  return parameters;
}

// Below the service, which serves other users meanwhile.
constexpr int kNiceness = 10;

// A descriptor for each process.
void RaiseLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) Refuse(Fault::kSelf, 0, errno);
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) Refuse(Fault::kSelf, 0, errno);
}

[[noreturn]] void Run() {
  StartDeadline(0);
  const Parameters parameters = Receive();
  RaiseLimit();
  if (::setpriority(PRIO_PROCESS, 0, kNiceness) != 0) Refuse(Fault::kSelf, 0, errno);
  const Task caller{parameters.caller, kCallerProcFd};
  const Task root{parameters.root, kRootProcFd};
  const Task engine{parameters.engine, kEngineProcFd};
  Status status{};
  if (!IsThere(caller)) Refuse(Fault::kGone, caller.pid);
  if (HasEnded(engine)) Refuse(Fault::kGone, engine.pid);
  if (!ReadStatus(root, &status)) Refuse(Fault::kGone, root.pid);
  // A process of another user's is not asked anything.
  const Fault fault = LookAt(root, status, parameters, status.tracer);
  if (fault != Fault::kNone && fault != Fault::kSeccomp) {
    Refuse(HasEnded(root) ? Fault::kGone : fault, root.pid);
  }

  static bool may_trace[kMostTasks];
  Tree tree(root);
  const bool needs_consent = (parameters.flags & kNeedsConsent) != 0;
  const bool names_all = (parameters.flags & kNameAll) != 0;
  progress.consent = RelationTo(caller, root);
  uint32_t done = 0;
  for (int reading = 0; reading < kMostReadings; ++reading) {
    if (tree.Read() == 0 && done == tree.Size()) Succeed();
    StartDeadline(root.pid);
    AskKernel(tree, done, tree.Size() - done, parameters, may_trace);
    if (done == 0 && progress.consent == Consent::kUnasked) {
      if (may_trace[0]) {
        progress.consent = Consent::kNamed;
      } else if (needs_consent) {
        Refuse(Fault::kNoConsent, root.pid);
      }
    }
    for (uint32_t index = done; index < tree.Size(); ++index) {
      if (may_trace[index - done] && !names_all) {
        ++progress.before;
      } else if (NameEngine(tree.At(index), engine, parameters)) {
        ++progress.named;
      }
    }
    done = tree.Size();
  }
  // Processes are born faster.
  Refuse(Fault::kTooMany, root.pid);
}

}  // namespace
}  // namespace criu_service::grant

int main() { criu_service::grant::Run(); }
