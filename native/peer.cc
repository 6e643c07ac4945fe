// The kernel's knowledge about the process that connected. All of it was fixed at connect(2) and
// does not show changes of that process since, except the map of its uids.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "error.h"
#include "kernel.h"
#include "socket.h"

namespace criu_service {
namespace {

// getsockopt(2) for an option of unknown length. On ERANGE the kernel tells the needed length (for
// both SO_PEERGROUPS and SO_PEERSEC). Returns 0 or an errno.
template <typename Container>
int GetVariableOption(int fd, int option, Container& value) {
  constexpr size_t kUnit = sizeof(typename Container::value_type);
  for (;;) {
    auto length = static_cast<socklen_t>(value.size() * kUnit);
    if (::getsockopt(fd, SOL_SOCKET, option, value.data(), &length) == 0) {
      value.resize(length / kUnit);
      return 0;
    }
    const int failure = errno;
    if (failure != ERANGE || length <= value.size() * kUnit) return failure;
    value.resize(length / kUnit);
  }
}

ucred Credentials(Napi::Env env, int fd) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  Check(env, "getsockopt", ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length),
        "SO_PEERCRED");
  // An unconnected socket has credentials, too: (uid_t)-1. Never let those through.
  if (credentials.uid == static_cast<uid_t>(-1)) {
    throw SystemError(env, "getsockopt", ENOTCONN, "SO_PEERCRED");
  }
  return credentials;
}

// Tells whether the process that connected still exists or has yet to be reaped. Linux before 6.5
// has no SO_PEERPIDFD; there the answer is always true.
bool IsThere(int fd) {
  int number = -1;
  socklen_t length = sizeof number;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &number, &length) == -1) {
    return errno == ENOPROTOOPT;
  }
  const UniqueFd pidfd(number);
  return ::syscall(SYS_pidfd_send_signal, pidfd.Get(), 0, nullptr, 0U) == 0 || errno == EPERM;
}

}  // namespace

Napi::Value SeqpacketSocket::PeerCredentials(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ucred credentials = Credentials(env, Require(env, "getsockopt"));
  Napi::Object result = Napi::Object::New(env);
  result.Set("pid", credentials.pid);
  result.Set("uid", credentials.uid);
  result.Set("gid", credentials.gid);
  return result;
}

Napi::Value SeqpacketSocket::PeerGroups(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::vector<gid_t> groups(64);
  const int failure = GetVariableOption(Require(env, "getsockopt"), SO_PEERGROUPS, groups);
  if (failure != 0) throw SystemError(env, "getsockopt", failure, "SO_PEERGROUPS");
  Napi::Array result = Napi::Array::New(env, groups.size());
  for (size_t index = 0; index < groups.size(); ++index) {
    result.Set(static_cast<uint32_t>(index), groups[index]);
  }
  return result;
}

Napi::Value SeqpacketSocket::PeerPidfd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int number = -1;
  socklen_t length = sizeof number;
  if (::getsockopt(Require(env, "getsockopt"), SOL_SOCKET, SO_PEERPIDFD, &number, &length) == -1) {
    const int failure = errno;
    if (failure == ENOPROTOOPT) return env.Undefined();
    // EINVAL: the peer has been reaped. Linux 6.16 gives a pidfd even then (PIDFD_STALE).
    throw SystemError(env, "getsockopt", failure, "SO_PEERPIDFD");
  }
  // The kernel makes every pidfd CLOEXEC, see pidfd_open(2).
  return OwnedFd::New(env, UniqueFd(number));
}

Napi::Value SeqpacketSocket::PeerSecurityLabel(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::string label(256, '\0');
  const int failure = GetVariableOption(Require(env, "getsockopt"), SO_PEERSEC, label);
  if (failure == ENOPROTOOPT) return env.Undefined();
  if (failure != 0) throw SystemError(env, "getsockopt", failure, "SO_PEERSEC");
  // SELinux counts the terminating NUL, AppArmor does not.
  while (!label.empty() && label.back() == '\0') label.pop_back();
  return Napi::String::New(env, label);
}

Napi::Value SeqpacketSocket::PeerUidMap(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = Require(env, "getsockopt");
  const ucred credentials = Credentials(env, fd);
  const std::string path = "/proc/" + std::to_string(credentials.pid) + "/uid_map";
  const UniqueFd file(RetryOnSignal([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  if (!file.IsOpen()) return env.Undefined();
  // More than the longest map (UID_GID_MAP_MAX_EXTENTS lines in the kernel).
  std::string map(size_t{16} * 1024, '\0');
  size_t length = 0;
  for (ssize_t count = 1; count > 0; length += static_cast<size_t>(count)) {
    count =
        RetryOnSignal([&] { return ::read(file.Get(), map.data() + length, map.size() - length); });
    if (count == -1) return env.Undefined();
  }
  map.resize(length);
  // The kernel may have reused the pid meanwhile.
  return IsThere(fd) ? Napi::String::New(env, map) : env.Undefined();
}

Napi::Value SeqpacketSocket::RefuseFds(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int off = 0;
  if (::setsockopt(Require(env, "setsockopt"), SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof off) == -1) {
    const int failure = errno;
    if (failure == ENOPROTOOPT) return Napi::Boolean::New(env, false);
    throw SystemError(env, "setsockopt", failure, "SO_PASSRIGHTS");
  }
  return Napi::Boolean::New(env, true);
}

}  // namespace criu_service
