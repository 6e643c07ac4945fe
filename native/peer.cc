// What the kernel knows about the process that connected. All of it was fixed at connect(2), and
// says nothing about what that process has become since.
#include <sys/socket.h>

#include <string>
#include <vector>

#include "error.h"
#include "kernel.h"
#include "socket.h"

namespace criu_service {
namespace {

// getsockopt(2) for an option of unknown length: on ERANGE the kernel says how much it needs (both
// SO_PEERGROUPS and SO_PEERSEC do). Returns 0 or an errno.
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

}  // namespace

Napi::Value SeqpacketSocket::PeerCredentials(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  ucred credentials{};
  socklen_t length = sizeof credentials;
  Check(env, "getsockopt",
        ::getsockopt(Require(env, "getsockopt"), SOL_SOCKET, SO_PEERCRED, &credentials, &length),
        "SO_PEERCRED");
  // A socket that nobody is connected to has credentials too, (uid_t)-1: never let those through.
  if (credentials.uid == static_cast<uid_t>(-1)) {
    throw SystemError(env, "getsockopt", ENOTCONN, "SO_PEERCRED");
  }
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
    // A peer that was reaped already is EINVAL; Linux 6.16 gives a pidfd for it (PIDFD_STALE).
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
