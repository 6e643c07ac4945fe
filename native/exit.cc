// The end of this process without Node's teardown, which joins threads that may wait for ever.
#include <fcntl.h>
#include <unistd.h>

#include <cstddef>

#include "addon.h"
#include "args.h"

namespace criu_service {
namespace {

constexpr int kLargestStatus = 255;

// Node makes pipes non-blocking when it writes to them. Others share them, and outlive us.
void PutFlagsBack(const StandardFlags& flags) {
  for (std::size_t fd = 0; fd < flags.size(); ++fd) {
    const int now = ::fcntl(static_cast<int>(fd), F_GETFL);
    if (flags[fd] == -1 || now == -1 || ((now ^ flags[fd]) & O_NONBLOCK) == 0) continue;
    (void)::fcntl(static_cast<int>(fd), F_SETFL, now ^ O_NONBLOCK);
  }
}

Napi::Value ExitAtOnce(const Napi::CallbackInfo& info) {
  const int status = RequireInt(info[0], "status", 0, kLargestStatus);
  PutFlagsBack(Addon::Of(info.Env()).standard_flags);
  ::_exit(status);
}

}  // namespace

void ExportExit(Napi::Env env, Napi::Object exports) {
  StandardFlags& flags = Addon::Of(env).standard_flags;
  for (std::size_t fd = 0; fd < flags.size(); ++fd) {
    flags[fd] = ::fcntl(static_cast<int>(fd), F_GETFL);
  }
  exports.Set("exit", Napi::Function::New<ExitAtOnce>(env, "exit"));
}

}  // namespace criu_service
