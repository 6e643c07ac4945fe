// The exit status of a process that is no child of ours, from its pidfd.
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <cstdint>

#include "addon.h"
#include "args.h"
#include "error.h"

namespace criu_service {
namespace {

// struct pidfd_info of linux/pidfd.h, as of its first version; newer kernels accept its size.
struct PidfdInfo {
  uint64_t mask;
  uint64_t cgroup_id;
  uint32_t pid;
  uint32_t tgid;
  uint32_t parent_pid;
  uint32_t ids[8];
  int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64);

// PIDFD_GET_INFO is of Linux 6.13, PIDFD_INFO_EXIT of Linux 6.15.
constexpr unsigned long kGetInfo = _IOWR(0xFF, 11, PidfdInfo);
constexpr uint64_t kInfoExit = 1U << 3U;

Napi::Value EndOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int pidfd = RequireFd(info[0], "pidfd").Get();
  PidfdInfo found{};
  found.mask = kInfoExit;
  if (::ioctl(pidfd, kGetInfo, &found) == -1) {
    // A kernel without this question refuses it like any that it does not know.
    return errno == ENOTTY || errno == EINVAL ? env.Null() : env.Undefined();
  }
  // A process keeps its status until its parent has reaped it, and a kernel may lack the answer.
  if ((found.mask & kInfoExit) == 0) return env.Undefined();
  Napi::Object status = Napi::Object::New(env);
  if (WIFEXITED(found.exit_code)) {
    status.Set("kind", "exited");
    status.Set("code", WEXITSTATUS(found.exit_code));
  } else {
    status.Set("kind", "signalled");
    status.Set("signal", WTERMSIG(found.exit_code));
  }
  return status;
}

}  // namespace

void ExportEnds(Napi::Env env, Napi::Object exports) {
  exports.Set("endOf", Napi::Function::New<EndOf>(env, "endOf"));
}

}  // namespace criu_service
