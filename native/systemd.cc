// libsystemd: descriptors that systemd passed, notifications.
#include <systemd/sd-daemon.h>

#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "addon.h"
#include "args.h"
#include "error.h"
#include "kernel.h"

namespace criu_service {
namespace {

// The list of names that sd_listen_fds_with_names(3) allocates.
class Names {
 public:
  Names() = default;
  ~Names() {
    if (list_ == nullptr) return;
    for (char** name = list_; *name != nullptr; ++name) std::free(*name);
    std::free(list_);
  }
  Names(const Names&) = delete;
  Names& operator=(const Names&) = delete;

  char*** Receive() { return &list_; }
  const char* operator[](size_t index) const { return list_[index]; }

 private:
  char** list_ = nullptr;
};

Napi::Value ListenFds(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Names names;
  // It removes the variables (unsetenv is not safe beside a thread that reads the environment, so
  // this call belongs to the start), checks LISTEN_PID and sets CLOEXEC.
  const int count = sd_listen_fds_with_names(1, names.Receive());
  if (count < 0) throw SystemError(env, "sd_listen_fds_with_names", -count);

  std::vector<UniqueFd> fds;
  fds.reserve(static_cast<size_t>(count));
  for (int index = 0; index < count; ++index) fds.emplace_back(SD_LISTEN_FDS_START + index);
  const Napi::Array owned = OwnedFd::NewArray(env, std::move(fds));
  Napi::Array result = Napi::Array::New(env, owned.Length());
  for (uint32_t index = 0; index < owned.Length(); ++index) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("fd", owned.Get(index));
    entry.Set("name", names[index]);
    result.Set(index, entry);
  }
  return result;
}

Napi::Value Notify(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string state = RequireString(info[0], "state");
  const std::vector<int> fds = OptionalFds(info[1], "fds", kMaxPacketFds);
  // Pid 0 is ourselves. The text goes as it is: this is no printf format, unlike sd_notifyf(3).
  const int result = sd_pid_notify_with_fds(0, 0, state.c_str(), fds.empty() ? nullptr : fds.data(),
                                            static_cast<unsigned int>(fds.size()));
  if (result < 0) throw SystemError(env, "sd_pid_notify_with_fds", -result);
  return Napi::Number::New(env, result > 0 ? 1 : 0);
}

}  // namespace

void ExportSystemd(Napi::Env env, Napi::Object exports) {
  exports.Set("listenFds", Napi::Function::New<ListenFds>(env, "listenFds"));
  exports.Set("notify", Napi::Function::New<Notify>(env, "notify"));
}

}  // namespace criu_service
