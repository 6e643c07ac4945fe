// libsystemd: descriptors that systemd passed, and notifications.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "addon.h"
#include "args.h"
#include "elsewhere.h"
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
  // The function removes the variables, checks LISTEN_PID and sets CLOEXEC. Call it at start only:
  // unsetenv is not safe beside a thread that reads the environment.
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

// Every process may write to the notification socket (sd_notify(3)), and libsystemd waits for room
// in its queue. If the queue is full, the message goes to a thread, and so do all later messages,
// to keep their order.
constexpr const char* kLane = "notify";

class Notification : public Task {
 public:
  Notification(std::string state, std::vector<UniqueFd> fds)
      : state_(std::move(state)), fds_(std::move(fds)) {}

  void Run() override {
    std::vector<int> numbers;
    for (const UniqueFd& fd : fds_) numbers.push_back(fd.Get());
    result_ = sd_pid_notify_with_fds(0, 0, state_.c_str(), numbers.data(),
                                     static_cast<unsigned int>(numbers.size()));
    fds_.clear();
  }

  Napi::Value Result(Napi::Env env) override {
    if (result_ < 0) throw SystemError(env, "sd_pid_notify_with_fds", -result_);
    return Napi::Boolean::New(env, result_ > 0);
  }

 private:
  std::string state_;
  std::vector<UniqueFd> fds_;
  int result_ = 0;
};

// Does the same as sd_pid_notify_with_fds(3), but never waits. If NOTIFY_SOCKET has an unsupported
// form (vsock) or any call fails, the thread uses libsystemd instead.
bool SendNow(const std::string& state, const std::vector<int>& fds) {
  const char* path = std::getenv("NOTIFY_SOCKET");  // NOLINT(concurrency-mt-unsafe)
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t length = path == nullptr ? 0 : std::strlen(path);
  if (length < 2 || length >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@')) {
    return false;
  }
  std::memcpy(address.sun_path, path, length);
  if (path[0] == '@') address.sun_path[0] = '\0';
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.IsOpen()) return false;
  iovec part = {const_cast<char*>(state.data()), state.size()};
  msghdr header{};
  header.msg_name = &address;
  header.msg_namelen = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  std::vector<uint64_t> control((CMSG_SPACE(fds.size() * sizeof(int)) + 7) / 8);
  if (!fds.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* item = CMSG_FIRSTHDR(&header);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(item), fds.data(), fds.size() * sizeof(int));
  }
  return RetryOnSignal(
             [&] { return ::sendmsg(socket.Get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT); }) >= 0;
}

Napi::Value NotifyNow(const Napi::CallbackInfo& info) {
  const std::string state = RequireString(info[0], "state");
  const std::vector<int> fds = OptionalFds(info[1], "fds", kMaxPacketFds);
  return Napi::Boolean::New(info.Env(), IsLaneIdle(kLane) && SendNow(state, fds));
}

Napi::Value NotifyElsewhere(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::string state = RequireString(info[0], "state");
  std::vector<UniqueFd> fds;
  for (const int number : OptionalFds(info[1], "fds", kMaxPacketFds)) {
    fds.emplace_back(Check(env, "fcntl", ::fcntl(number, F_DUPFD_CLOEXEC, 0)));
  }
  return InLane(env, kLane, std::make_shared<Notification>(std::move(state), std::move(fds)));
}

}  // namespace

void ExportSystemd(Napi::Env env, Napi::Object exports) {
  exports.Set("listenFds", Napi::Function::New<ListenFds>(env, "listenFds"));
  exports.Set("notifyNow", Napi::Function::New<NotifyNow>(env, "notifyNow"));
  exports.Set("notifyElsewhere", Napi::Function::New<NotifyElsewhere>(env, "notifyElsewhere"));
}

}  // namespace criu_service
