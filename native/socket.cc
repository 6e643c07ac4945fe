#include "socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <utility>

#include "addon.h"
#include "args.h"
#include "error.h"
#include "kernel.h"

namespace criu_service {
namespace {

bool Listens(int fd) {
  int value = 0;
  socklen_t length = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) == 0 && value != 0;
}

// A socket that passes credentials, labels or pidfds marks every packet with MSG_CTRUNC if the
// packet is read without a control buffer. Here that flag must mean descriptors only. So options
// that a socket unit may have set (PassSecurity=) are turned off. Credentials are turned off, too,
// except for a socket whose packets must name their sender, and for a listening socket, whose
// accepted sockets inherit the option.
void PassOnly(int fd, bool credentials) {
  const int off = 0;
  const int on = credentials ? 1 : 0;
  static_cast<void>(::setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
  for (const int option : {SO_PASSSEC, SO_PASSPIDFD}) {
    // If the kernel does not know an option (SO_PASSPIDFD before Linux 6.5), it is not set either.
    static_cast<void>(::setsockopt(fd, SOL_SOCKET, option, &off, sizeof off));
  }
}

}  // namespace

Napi::Function SeqpacketSocket::Define(Napi::Env env) {
  return DefineClass(env, "SeqpacketSocket",
                     {
                         InstanceAccessor<&SeqpacketSocket::Fd>("fd"),
                         InstanceAccessor<&SeqpacketSocket::PeerLeftUnread>("peerLeftUnread"),
                         InstanceMethod<&SeqpacketSocket::Inode>("inode"),
                         InstanceMethod<&SeqpacketSocket::Watch>("watch"),
                         InstanceMethod<&SeqpacketSocket::Accept>("accept"),
                         InstanceMethod<&SeqpacketSocket::Peek>("peek"),
                         InstanceMethod<&SeqpacketSocket::HeadCarriesFds>("headCarriesFds"),
                         InstanceMethod<&SeqpacketSocket::HeadTerminal>("headTerminal"),
                         InstanceMethod<&SeqpacketSocket::Discard>("discard"),
                         InstanceMethod<&SeqpacketSocket::Receive>("receive"),
                         InstanceMethod<&SeqpacketSocket::Send>("send"),
                         InstanceMethod<&SeqpacketSocket::PeerCredentials>("peerCredentials"),
                         InstanceMethod<&SeqpacketSocket::PeerGroups>("peerGroups"),
                         InstanceMethod<&SeqpacketSocket::PeerPidfd>("peerPidfd"),
                         InstanceMethod<&SeqpacketSocket::PeerSecurityLabel>("peerSecurityLabel"),
                         InstanceMethod<&SeqpacketSocket::PeerUidMap>("peerUidMap"),
                         InstanceMethod<&SeqpacketSocket::RefuseFds>("refuseFds"),
                         InstanceMethod<&SeqpacketSocket::Shutdown>("shutdown"),
                         InstanceMethod<&SeqpacketSocket::Copy>("copy"),
                         InstanceMethod<&SeqpacketSocket::ReleaseMethod>("release"),
                         InstanceMethod<&SeqpacketSocket::CloseMethod>("close"),
                     });
}

Napi::Object SeqpacketSocket::New(Napi::Env env, UniqueFd& fd, bool accepted) {
  // Read the peer before the object exists: packets of a socket without a known peer could not be
  // attributed.
  ucred peer{};
  socklen_t length = sizeof peer;
  if (accepted) {
    Check(env, "getsockopt", ::getsockopt(fd.Get(), SOL_SOCKET, SO_PEERCRED, &peer, &length));
  }
  PassOnly(fd.Get(), accepted || Listens(fd.Get()));
  Napi::Object socket = Addon::Of(env).socket.New({Napi::External<UniqueFd>::New(env, &fd)});
  if (accepted) Unwrap(socket)->connected_ = peer;
  return socket;
}

SeqpacketSocket::SeqpacketSocket(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (!info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(),
                               "a SeqpacketSocket comes only from a call of this addon");
  }
  fd_ = std::move(*info[0].As<Napi::External<UniqueFd>>().Data());
}

int SeqpacketSocket::Require(Napi::Env env, const char* syscall) const {
  if (!fd_.IsOpen()) throw SystemError(env, syscall, EBADF, "the socket was closed or given away");
  return fd_.Get();
}

Napi::Value SeqpacketSocket::Fd(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), fd_.Get());
}

Napi::Value SeqpacketSocket::Inode(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct stat status {};
  Check(env, "fstat", ::fstat(Require(env, "fstat"), &status));
  return Napi::BigInt::New(env, static_cast<uint64_t>(status.st_ino));
}

Napi::Value SeqpacketSocket::PeerLeftUnread(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), left_unread_);
}

void SeqpacketSocket::Watch(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int events = RequireInt(info[0], "events", 0, UV_READABLE | UV_WRITABLE | UV_DISCONNECT);
  if (events == 0) {
    StopWatching();
    return;
  }
  const Napi::Function callback = RequireFunction(info[1], "callback");
  const int fd = Require(env, "uv_poll_start");
  if (!poll_) {
    PollListener& listener = *this;
    poll_ = std::make_unique<Poll>(env, Addon::Of(env).loop, fd, listener);
  }
  Napi::FunctionReference reference = Napi::Persistent(callback);
  const int failure = poll_->Start(events);
  if (failure != 0) throw SystemError(env, "uv_poll_start", failure);
  // From here on the watch exists and keeps this object alive.
  if (watched_ == 0) Ref();
  watched_ = events;
  callback_ = std::move(reference);
}

void SeqpacketSocket::StopWatching() {
  if (watched_ == 0) return;
  watched_ = 0;
  poll_->Stop();
  callback_.Reset();
  Unref();
}

void SeqpacketSocket::OnPoll(int status, int events) {
  const Napi::Env env = Env();
  // The callback may end the watch. These references keep the object and the function until it
  // returns.
  const Napi::Object self = Value();
  const Napi::Function callback = callback_.Value();
  if (status == 0) {
    CallFromLoop(env, self, callback, {Napi::Number::New(env, events)});
    return;
  }

  // libuv turns POLLERR into EBADF and stops (uv__poll_io). SO_ERROR tells the true error and
  // clears it, see socket(7).
  int failure = 0;
  socklen_t length = sizeof failure;
  if (::getsockopt(fd_.Get(), SOL_SOCKET, SO_ERROR, &failure, &length) == -1) failure = errno;
  // ECONNRESET: the peer closed without reading all that we sent (unix_release_sock). The peer's
  // own packets can still be read, so this is not a failure: the loop's next turn reports the
  // hang-up.
  if (failure == ECONNRESET) left_unread_ = true;
  if (failure == ECONNRESET && poll_->Start(watched_) == 0) return;
  StopWatching();
  const Napi::Error error = SystemError(env, "poll", failure != 0 ? failure : -status);
  CallFromLoop(env, self, callback, {Napi::Number::New(env, 0), error.Value()});
}

Napi::Value SeqpacketSocket::Accept(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int listener = Require(env, "accept4");
  UniqueFd fd(RetryOnSignal([&] { return ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC); }));
  if (!fd.IsOpen()) {
    const int failure = errno;
    if (failure == EAGAIN || failure == ECONNABORTED) return env.Undefined();
    throw SystemError(env, "accept4", failure);
  }
  return New(env, fd, true);
}

void SeqpacketSocket::Shutdown(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string how = RequireString(info[0], "how");
  int side = 0;
  if (how == "read") {
    side = SHUT_RD;
  } else if (how == "write") {
    side = SHUT_WR;
  } else if (how == "both") {
    side = SHUT_RDWR;
  } else {
    ThrowArgument(env, "how", "must be 'read', 'write' or 'both'");
  }
  if (::shutdown(Require(env, "shutdown"), side) == -1 && errno != ENOTCONN) {
    throw SystemError(env, "shutdown", errno);
  }
}

Napi::Value SeqpacketSocket::Copy(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = Require(env, "fcntl");
  return OwnedFd::New(env, UniqueFd(Check(env, "fcntl", ::fcntl(fd, F_DUPFD_CLOEXEC, 0))));
}

Napi::Value SeqpacketSocket::ReleaseMethod(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = Require(env, "fcntl");
  // Leave the loop first: another poll handle may get the number right afterwards.
  StopWatching();
  poll_.reset();
  // O_NONBLOCK belongs to the open file (fcntl(2)), so every copy inherits it, but CRIU reads its
  // requests with a blocking recv(2).
  const int flags = Check(env, "fcntl", ::fcntl(fd, F_GETFL));
  Check(env, "fcntl", ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK));
  return OwnedFd::New(env, fd_);
}

void SeqpacketSocket::Close() {
  StopWatching();
  poll_.reset();
  fd_.Reset();
}

void SeqpacketSocket::CloseMethod(const Napi::CallbackInfo&) { Close(); }

}  // namespace criu_service
