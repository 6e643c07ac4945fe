// Facts about descriptors that /proc lacks: the other end of a Unix socket, the protocol of any
// socket, and whether a pipe has another end.
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "addon.h"
#include "args.h"
#include "error.h"

namespace criu_service {
namespace {

constexpr size_t kBuffer = size_t{64} * 1024;
// A protocol's name in the kernel has at most 32 bytes (struct proto, net/sock.h).
constexpr size_t kLongestProtocol = 64;

struct Request {
  nlmsghdr header;
  unix_diag_req body;
};

// Adds "inode type state peer file name\n". The peer is 0 if the socket is not connected, and so is
// the inode of its file if it has none; a newline in a name becomes a space.
void Append(std::string& out, const nlmsghdr* header) {
  if (header->nlmsg_len < NLMSG_LENGTH(sizeof(unix_diag_msg))) return;
  unix_diag_msg message{};
  std::memcpy(&message, NLMSG_DATA(header), sizeof(message));
  uint32_t peer = 0;
  unix_diag_vfs file{};
  std::string name;
  const char* at =
      reinterpret_cast<const char*>(header) + NLMSG_LENGTH(NLMSG_ALIGN(sizeof(message)));
  const char* end = reinterpret_cast<const char*>(header) + header->nlmsg_len;
  while (static_cast<size_t>(end - at) >= sizeof(nlattr)) {
    nlattr attribute{};
    std::memcpy(&attribute, at, sizeof(attribute));
    const size_t length = attribute.nla_len;
    if (length < NLA_HDRLEN || length > static_cast<size_t>(end - at)) break;
    const char* value = at + NLA_HDRLEN;
    const size_t size = length - NLA_HDRLEN;
    if (attribute.nla_type == UNIX_DIAG_PEER && size == sizeof(peer))
      std::memcpy(&peer, value, sizeof(peer));
    if (attribute.nla_type == UNIX_DIAG_VFS && size == sizeof(file))
      std::memcpy(&file, value, sizeof(file));
    if (attribute.nla_type == UNIX_DIAG_NAME) name.assign(value, size);
    at += std::min(NLA_ALIGN(length), static_cast<size_t>(end - at));
  }
  // The name of an abstract socket begins with a zero byte, shown as @; the name of a path may end
  // in one.
  if (!name.empty() && name.front() == '\0') name.front() = '@';
  while (!name.empty() && name.back() == '\0') name.pop_back();
  for (char& each : name) {
    if (each == '\n' || each == '\0') each = ' ';
  }
  out += std::to_string(message.udiag_ino) + ' ' + std::to_string(message.udiag_type) + ' ' +
         std::to_string(message.udiag_state) + ' ' + std::to_string(peer) + ' ' +
         std::to_string(file.udiag_vfs_ino) + ' ' + name + '\n';
}

Napi::Value UnixSockets(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const UniqueFd netlink(
      Check(env, "socket", ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG)));
  Request request{};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.body.sdiag_family = AF_UNIX;
  request.body.udiag_states = ~0U;
  request.body.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER;
  Check(env, "send", ::send(netlink.Get(), &request, sizeof(request), 0));
  std::vector<char> buffer(kBuffer);
  std::string out;
  for (;;) {
    const ssize_t received = ::recv(netlink.Get(), buffer.data(), buffer.size(), 0);
    if (received == -1 && errno == EINTR) continue;
    size_t left = static_cast<size_t>(Check(env, "recv", received));
    if (left == 0) break;
    for (const auto* header = reinterpret_cast<const nlmsghdr*>(buffer.data());
         NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_type == NLMSG_DONE) return Napi::String::New(env, out);
      if (header->nlmsg_type == NLMSG_ERROR) {
        nlmsgerr error{};
        std::memcpy(&error, NLMSG_DATA(header), sizeof(error));
        errno = -error.error;
        Check(env, "recv", -1, "SOCK_DIAG_BY_FAMILY");
      }
      Append(out, header);
    }
  }
  return Napi::String::New(env, out);
}

Napi::Value ProtocolOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = RequireString(info[0], "path");
  std::array<char, kLongestProtocol> name{};
  const ssize_t length = ::getxattr(path.c_str(), "system.sockprotoname", name.data(), name.size());
  if (length <= 0) return env.Undefined();
  return Napi::String::New(
      env, std::string(name.data(), ::strnlen(name.data(), static_cast<size_t>(length))));
}

// The end is opened a second time and closed again, which its processes do not notice: the end is
// theirs, too.
Napi::Value PipeIsWhole(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = RequireString(info[0], "path");
  const bool writes = info[1].ToBoolean();
  const UniqueFd end(Check(
      env, "open",
      ::open(path.c_str(), (writes ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY),
      path));
  pollfd polled{.fd = end.Get(), .events = 0, .revents = 0};
  Check(env, "poll", ::poll(&polled, 1, 0));
  // pipe(7): POLLHUP without writers, POLLERR without readers.
  return Napi::Boolean::New(env, (polled.revents & (POLLHUP | POLLERR)) == 0);
}

}  // namespace

void ExportLooks(Napi::Env env, Napi::Object exports) {
  exports.Set("unixSockets", Napi::Function::New<UnixSockets>(env, "unixSockets"));
  exports.Set("protocolOf", Napi::Function::New<ProtocolOf>(env, "protocolOf"));
  exports.Set("pipeIsWhole", Napi::Function::New<PipeIsWhole>(env, "pipeIsWhole"));
}

}  // namespace criu_service
