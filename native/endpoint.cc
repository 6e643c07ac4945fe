// Ways to get a socket: adopt one, listen, connect, make a pair.
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "addon.h"
#include "args.h"
#include "error.h"
#include "socket.h"

namespace criu_service {
namespace {

constexpr mode_t kPermissions = 0777;
// As much as no socket buffer holds, unless an administrator has raised net.core.wmem_max.
constexpr int kLargestHead = 64 * 1024 * 1024;

int GetOption(Napi::Env env, int fd, int option) {
  int value = 0;
  socklen_t length = sizeof value;
  Check(env, "getsockopt", ::getsockopt(fd, SOL_SOCKET, option, &value, &length));
  return value;
}

UniqueFd NewSocket(Napi::Env env, int flags) {
  return UniqueFd(
      Check(env, "socket", ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0)));
}

sockaddr_un Address(Napi::Env env, const char* syscall, const std::string& path) {
  // An empty path would bind to an abstract name that the kernel chooses, see unix(7).
  if (path.empty()) ThrowArgument(env, "path", "must not be empty");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    throw SystemError(env, syscall, ENAMETOOLONG, path);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Napi::Value Adopt(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  OwnedFd& owned = RequireFd(info[0], "fd");
  const int fd = owned.Get();
  const int is_ours = sd_is_socket(fd, AF_UNIX, SOCK_SEQPACKET, -1);
  if (is_ours < 0) throw SystemError(env, "sd_is_socket", -is_ours);
  if (is_ours == 0) ThrowArgument(env, "fd", "must be a SEQPACKET Unix socket");
  if (GetOption(env, fd, SO_ACCEPTCONN) != 0) {
    // accept4(2) has no MSG_DONTWAIT. With O_NONBLOCK, accept4(2) does not wait if the peer has
    // left meanwhile.
    const int flags = Check(env, "fcntl", ::fcntl(fd, F_GETFL));
    Check(env, "fcntl", ::fcntl(fd, F_SETFL, flags | O_NONBLOCK));
  }
  const bool accepted = info[1].IsBoolean() && info[1].As<Napi::Boolean>().Value();
  UniqueFd taken = owned.Take();
  return SeqpacketSocket::New(env, taken, accepted);
}

Napi::Value Listen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = RequireString(info[0], "path");
  const auto mode = static_cast<mode_t>(RequireInt(info[1], "mode", 0, kPermissions));
  const int backlog = RequireInt(info[2], "backlog", 0, 1 << 16);
  const sockaddr_un address = Address(env, "bind", path);

  UniqueFd fd = NewSocket(env, SOCK_NONBLOCK);
  // bind(2) gives the file the mode of the socket's own inode less the umask (unix_bind_bsd), so
  // the file is never more open than intended.
  Check(env, "fchmod", ::fchmod(fd.Get(), mode));
  Check(env, "bind", ::bind(fd.Get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
        path);
  try {
    // Restore the bits that the umask removed. A symbolic link in the socket's place is not
    // followed.
    Check(env, "chmod", ::fchmodat(AT_FDCWD, path.c_str(), mode, AT_SYMLINK_NOFOLLOW), path);
    Check(env, "listen", ::listen(fd.Get(), backlog), path);
    return SeqpacketSocket::New(env, fd);
  } catch (...) {
    // bind() made the file. Remove the file, so that the next start can bind.
    ::unlink(path.c_str());
    throw;
  }
}

Napi::Value Connect(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = RequireString(info[0], "path");
  const sockaddr_un address = Address(env, "connect", path);
  UniqueFd fd = NewSocket(env, SOCK_NONBLOCK);
  Check(env, "connect",
        ::connect(fd.Get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), path);
  return SeqpacketSocket::New(env, fd);
}

Napi::Value SocketPair(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int ends[2] = {-1, -1};
  // Both ends are blocking: they are two open files, and uv_poll_init sets O_NONBLOCK on ours only.
  Check(env, "socketpair", ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  Napi::Object pair = Napi::Object::New(env);
  pair.Set("ours", SeqpacketSocket::New(env, ours));
  pair.Set("theirs", OwnedFd::New(env, theirs));
  return pair;
}

Napi::Value DescribeSocket(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = RequireFd(info[0], "fd").Get();
  const int is_socket = sd_is_socket(fd, AF_UNSPEC, 0, -1);
  if (is_socket < 0) throw SystemError(env, "sd_is_socket", -is_socket);
  if (is_socket == 0) return env.Undefined();
  Napi::Object description = Napi::Object::New(env);
  description.Set("family", GetOption(env, fd, SO_DOMAIN));
  description.Set("type", GetOption(env, fd, SO_TYPE));
  description.Set("listening", GetOption(env, fd, SO_ACCEPTCONN) != 0);
  return description;
}

Napi::Value UnreadByPeer(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int bytes = 0;
  Check(env, "ioctl", ::ioctl(RequireFd(info[0], "fd").Get(), SIOCOUTQ, &bytes));
  return Napi::Boolean::New(env, bytes > 0);
}

// Leaves the options of the socket as its owner has set them, unlike Adopt().
Napi::Value HeadOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = RequireFd(info[0], "fd").Get();
  const auto most = static_cast<size_t>(RequireInt(info[1], "most", 1, kLargestHead));
  Napi::Buffer<std::byte> data = Napi::Buffer<std::byte>::New(env, most);
  // MSG_TRUNC makes the call return the true size.
  const ssize_t size = RetryOnSignal(
      [&] { return ::recv(fd, data.Data(), most, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT); });
  if (size <= 0 || static_cast<size_t>(size) > most) return env.Undefined();
  return data.Get("subarray")
      .As<Napi::Function>()
      .Call(data, {Napi::Number::New(env, 0), Napi::Number::New(env, static_cast<double>(size))});
}

}  // namespace

void ExportEndpoints(Napi::Env env, Napi::Object exports) {
  exports.Set("adopt", Napi::Function::New<Adopt>(env, "adopt"));
  exports.Set("listen", Napi::Function::New<Listen>(env, "listen"));
  exports.Set("connect", Napi::Function::New<Connect>(env, "connect"));
  exports.Set("socketpair", Napi::Function::New<SocketPair>(env, "socketpair"));
  exports.Set("describeSocket", Napi::Function::New<DescribeSocket>(env, "describeSocket"));
  exports.Set("headOf", Napi::Function::New<HeadOf>(env, "headOf"));
  exports.Set("unreadByPeer", Napi::Function::New<UnreadByPeer>(env, "unreadByPeer"));
}

}  // namespace criu_service
