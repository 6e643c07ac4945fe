// Packets: peek, receive with descriptors, send.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "args.h"
#include "closer.h"
#include "error.h"
#include "kernel.h"
#include "socket.h"

namespace criu_service {
namespace {

// More than any socket buffer holds, unless an administrator has raised net.core.wmem_max.
constexpr int kLargestLimit = 64 * 1024 * 1024;
// Most packets fit into this size, so a peek costs one system call and no allocation.
constexpr size_t kUsualPacket = size_t{64} * 1024;
constexpr int kDefaultMaxFds = 16;

struct Message {
  ssize_t size;
  int flags;
  // The peer closed without reading all that we sent.
  bool reset;
};

// recvmsg(2) that never waits. If the peer closed without reading all that we sent, the kernel
// reports ECONNRESET once, before the queued packets. The peer's packets are still there, so the
// call is made again.
Message ReceiveMessage(int fd, msghdr& header, int flags) {
  const size_t control_room = header.msg_controllen;
  const auto receive = [&] {
    header.msg_controllen = control_room;
    header.msg_flags = 0;
    return RetryOnSignal([&] { return ::recvmsg(fd, &header, flags | MSG_DONTWAIT); });
  };
  ssize_t size = receive();
  const bool reset = size == -1 && errno == ECONNRESET;
  if (reset) size = receive();
  return {size, header.msg_flags, reset};
}

// A control buffer with room for the sender's credentials only, which the kernel puts first
// (__scm_recv_common in net/core/scm.c).
class SenderBuffer {
 public:
  void Attach(msghdr& header) {
    header.msg_control = bytes_.data();
    header.msg_controllen = bytes_.size();
  }
  // Empty at the end of a connection, which is not a packet.
  static std::optional<ucred> Read(msghdr& header) {
    const cmsghdr* item = CMSG_FIRSTHDR(&header);
    if (item == nullptr || item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_CREDENTIALS) {
      return std::nullopt;
    }
    ucred sender{};
    std::memcpy(&sender, CMSG_DATA(item), sizeof sender);
    return sender;
  }

 private:
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(ucred))> bytes_{};
};

// A peek without a control buffer, so that no descriptors are installed. MSG_TRUNC makes the call
// return the true size. The kernel sets MSG_CTRUNC if there was something for a control buffer.
Message PeekMessage(int fd, void* buffer, size_t room) {
  iovec part = {buffer, room};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  return ReceiveMessage(fd, header, MSG_PEEK | MSG_TRUNC);
}

// Takes every descriptor out of a control buffer, so that each has an owner. `fds` has room for all
// of them, because a failed allocation here would lose the rest.
void TakeDescriptors(msghdr& header, std::vector<UniqueFd>& fds) {
  for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr; item = CMSG_NXTHDR(&header, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t index = 0; index < count; ++index) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(item) + index * sizeof(int), sizeof number);
      fds.emplace_back(number);
    }
  }
}

// Tells whether `fd` is the master of a pseudo terminal (pts(4)): device 5:2, on any devpts mount.
// This never waits for a file system: statx(2) uses cached attributes. O_PATH is excluded first,
// because it can refer to a device that its owner could not open.
bool IsTerminalMaster(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags == -1 || (flags & O_PATH) != 0) return false;
  struct statx status {};
  constexpr int kAsKnown = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
  if (::statx(fd, "", kAsKnown, STATX_TYPE, &status) == -1) return false;
  return S_ISCHR(status.stx_mode) && status.stx_rdev_major == 5 && status.stx_rdev_minor == 2;
}

// A control buffer for `count` descriptors, aligned as cmsg(3) wants it.
class ControlBuffer {
 public:
  // `sender`: make room for the sender's credentials before the descriptors.
  explicit ControlBuffer(size_t count, bool sender = false)
      : words_(
            (CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(count * sizeof(int)) + sizeof(uint64_t) - 1) /
            sizeof(uint64_t)),
        // Not CMSG_SPACE, whose padding would have room for one more descriptor than intended.
        length_((sender ? CMSG_SPACE(sizeof(ucred)) : 0) + CMSG_LEN(count * sizeof(int))) {}
  void Attach(msghdr& header) {
    header.msg_control = words_.data();
    header.msg_controllen = length_;
  }

 private:
  std::vector<uint64_t> words_;
  size_t length_;
};

}  // namespace

// recvmsg() returns 0 in three cases: for an empty packet, at the end of the connection, and even
// with a packet queued, if the peer sends and closes between the kernel's look at the queue and its
// look at the shutdown flag (__unix_dgram_recvmsg). After 0 at the end, nothing more can be queued,
// so a second look is final. The second look distinguishes a packet from the end, if the socket
// asks for credentials for a moment: without a control buffer, every packet then comes with
// MSG_CTRUNC (__scm_recv_common in net/core/scm.c, scm_recv in include/net/scm.h before Linux 6.7),
// and the end comes without it.
SeqpacketSocket::Head SeqpacketSocket::Look(Napi::Env env, int fd, void* buffer, size_t room) {
  if (connected_) return LookWithSender(env, fd, buffer, room);
  const auto peek = [&] {
    const Message message = PeekMessage(fd, buffer, room);
    if (message.reset) left_unread_ = true;
    return message;
  };
  const auto failed = [&]() -> Head {
    if (errno == EAGAIN) return {Head::Kind::kNothing, 0, false, false};
    throw SystemError(env, "recvmsg", errno);
  };
  const Message first = peek();
  if (first.size == -1) return failed();
  const bool carries_fds = (first.flags & MSG_CTRUNC) != 0;
  if (first.size > 0) {
    return {Head::Kind::kPacket, static_cast<size_t>(first.size), carries_fds, false};
  }
  if (carries_fds) return {Head::Kind::kEmptyPacket, 0, true, false};

  const int on = 1;
  const int off = 0;
  Check(env, "setsockopt", ::setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
  const Message second = peek();
  const int failure = errno;
  Check(env, "setsockopt", ::setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &off, sizeof off));
  errno = failure;
  if (second.size == -1) return failed();
  if ((second.flags & MSG_CTRUNC) == 0) return {Head::Kind::kEnd, 0, false, false};
  if (second.size == 0) return {Head::Kind::kEmptyPacket, 0, false, false};
  // The first look missed this packet. A third look finds whether the packet carries descriptors.
  const Message third = peek();
  if (third.size == -1) return failed();
  return {Head::Kind::kPacket, static_cast<size_t>(third.size), (third.flags & MSG_CTRUNC) != 0,
          false};
}

// A child of the connected process may hold the connection, too, so uid and gid decide who is
// foreign. The pid is compared on its own: the kernel accepts no other than the sender's, unless
// the sender has CAP_SYS_ADMIN. A packet that was queued without credentials (before this socket
// asked for them) is foreign.
SeqpacketSocket::Head SeqpacketSocket::LookWithSender(Napi::Env env, int fd, void* buffer,
                                                      size_t room) {
  // After 0 at the end, nothing more can be queued, so a second look is final.
  for (int looks = 0; looks < 2; ++looks) {
    iovec part = {buffer, room};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    SenderBuffer control;
    control.Attach(header);
    const Message message = ReceiveMessage(fd, header, MSG_PEEK | MSG_TRUNC);
    if (message.reset) left_unread_ = true;
    if (message.size == -1) {
      if (errno == EAGAIN) return {Head::Kind::kNothing, 0, false, false};
      throw SystemError(env, "recvmsg", errno);
    }
    const std::optional<ucred> sender = SenderBuffer::Read(header);
    if (message.size == 0 && !sender) continue;
    const bool foreign =
        !sender || sender->uid != connected_->uid || sender->gid != connected_->gid;
    const auto kind = message.size > 0 ? Head::Kind::kPacket : Head::Kind::kEmptyPacket;
    const bool passed_on = !sender || sender->pid != connected_->pid;
    return {kind, static_cast<size_t>(message.size), (message.flags & MSG_CTRUNC) != 0, foreign,
            passed_on};
  }
  return {Head::Kind::kEnd, 0, false, false};
}

Napi::Value SeqpacketSocket::Peek(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto limit = static_cast<size_t>(RequireInt(info[0], "limit", 0, kLargestLimit));
  const int fd = Require(env, "recvmsg");
  // Uninitialized: only bytes that the kernel has written are read.
  alignas(16) std::byte usual[kUsualPacket];
  const size_t room = std::min(limit, sizeof usual);
  const Head head = Look(env, fd, usual, room);

  Napi::Object peeked = Napi::Object::New(env);
  switch (head.kind) {
    case Head::Kind::kNothing:
      peeked.Set("kind", "nothing");
      break;
    case Head::Kind::kEnd:
      peeked.Set("kind", "end");
      break;
    case Head::Kind::kEmptyPacket:
      peeked.Set("kind", "empty-packet");
      if (head.foreign) peeked.Set("foreign", true);
      break;
    case Head::Kind::kPacket:
      peeked.Set("kind", "packet");
      if (head.foreign) peeked.Set("foreign", true);
      if (head.passed_on) peeked.Set("passedOn", true);
      peeked.Set("size", static_cast<double>(head.size));
      if (head.size > limit) {
        peeked.Set("data", env.Undefined());
      } else if (head.size <= room) {
        peeked.Set("data", Napi::Buffer<std::byte>::Copy(env, usual, head.size));
      } else {
        // A large packet. Queued packets do not change, so peek again with a buffer of its full
        // size.
        Napi::Buffer<std::byte> data = Napi::Buffer<std::byte>::New(env, head.size);
        Check(env, "recvmsg", PeekMessage(fd, data.Data(), data.ByteLength()).size);
        peeked.Set("data", data);
      }
      break;
  }
  return peeked;
}

Napi::Value SeqpacketSocket::HeadCarriesFds(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Napi::Boolean::New(env, Look(env, Require(env, "recvmsg"), nullptr, 0).carries_fds);
}

// Returns a copy of the descriptor. The packet at the head still holds the original, so closing the
// copy is never the last close. If the copy is not a terminal, even that close may block
// (closer.cc).
Napi::Value SeqpacketSocket::HeadTerminal(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = Require(env, "recvmsg");
  ucred peer{};
  socklen_t length = sizeof peer;
  Check(env, "getsockopt", ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length));

  std::vector<UniqueFd> fds;
  fds.reserve(1);
  ControlBuffer control(1);
  msghdr header{};
  control.Attach(header);
  const Message message = ReceiveMessage(fd, header, MSG_PEEK | MSG_CMSG_CLOEXEC);
  if (message.size == -1 && errno == EAGAIN) return env.Undefined();
  Check(env, "recvmsg", message.size);
  TakeDescriptors(header, fds);
  if (fds.empty()) return env.Undefined();
  if ((message.flags & MSG_CTRUNC) == 0 && IsTerminalMaster(fds.front().Get())) {
    return OwnedFd::NewInLane(env, std::move(fds.front()), peer.uid);
  }
  static_cast<void>(CloseElsewhere(peer.uid, std::move(fds.front())));
  return env.Undefined();
}

Napi::Value SeqpacketSocket::Discard(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = Require(env, "recvmsg");
  const Head head = Look(env, fd, nullptr, 0);
  const bool plain = (head.kind == Head::Kind::kPacket || head.kind == Head::Kind::kEmptyPacket) &&
                     !head.carries_fds;
  if (!plain) return Napi::Boolean::New(env, false);
  // The buffer is empty: the kernel discards the packet's bytes.
  msghdr header{};
  Check(env, "recvmsg", ReceiveMessage(fd, header, 0).size);
  return Napi::Boolean::New(env, true);
}

Napi::Value SeqpacketSocket::Receive(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto limit = static_cast<size_t>(RequireInt(info[0], "limit", 0, kLargestLimit));
  const auto most = static_cast<size_t>(
      info[1].IsUndefined() ? kDefaultMaxFds : RequireInt(info[1], "maxFds", 0, kMaxPacketFds));
  const int fd = Require(env, "recvmsg");
  // Look first. The head tells the size for the buffer, and distinguishes an empty packet from the
  // end, which is impossible after the packet is taken.
  const Head head = Look(env, fd, nullptr, 0);
  if (head.kind == Head::Kind::kNothing || head.kind == Head::Kind::kEnd) return env.Undefined();

  // Every allocation comes before the packet leaves the queue.
  Napi::Buffer<std::byte> data = Napi::Buffer<std::byte>::New(env, std::min(head.size, limit));
  Napi::Object packet = Napi::Object::New(env);
  std::vector<UniqueFd> fds;
  fds.reserve(most);
  ControlBuffer control(most, connected_.has_value());
  iovec part = {data.Data(), data.ByteLength()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  control.Attach(header);
  const Message message = ReceiveMessage(fd, header, MSG_CMSG_CLOEXEC);
  Check(env, "recvmsg", message.size);
  TakeDescriptors(header, fds);

  if ((message.flags & MSG_TRUNC) != 0) {
    throw SystemError(env, "recvmsg", EMSGSIZE,
                      "a packet of " + std::to_string(head.size) + " bytes, at most " +
                          std::to_string(limit) + " are taken");
  }
  if ((message.flags & MSG_CTRUNC) != 0) {
    // The kernel stops at the end of the buffer, or at the first descriptor that it cannot install:
    // the table is full (RLIMIT_NOFILE), or a security module refused.
    if (fds.size() < most) {
      throw SystemError(env, "recvmsg", EMFILE, "not all descriptors of a packet were installed");
    }
    throw SystemError(env, "recvmsg", ETOOMANYREFS,
                      "a packet with more than " + std::to_string(most) + " descriptors");
  }
  packet.Set("data", data);
  packet.Set("fds", OwnedFd::NewArray(env, std::move(fds)));
  return packet;
}

Napi::Value SeqpacketSocket::Send(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::span<const std::byte> data = RequireBytes(info[0], "data");
  const std::vector<int> fds = OptionalFds(info[1], "fds", kMaxPacketFds);
  const int fd = Require(env, "sendmsg");

  iovec part = {const_cast<std::byte*>(data.data()), data.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  ControlBuffer control(fds.size());
  // A packet without descriptors has no control message, because an empty SCM_RIGHTS is a message,
  // too.
  if (!fds.empty()) {
    control.Attach(header);
    cmsghdr* item = CMSG_FIRSTHDR(&header);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(item), fds.data(), fds.size() * sizeof(int));
  }
  const ssize_t sent =
      RetryOnSignal([&] { return ::sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT); });
  if (sent == -1) {
    const int failure = errno;
    if (failure == EAGAIN) return Napi::Boolean::New(env, false);
    throw SystemError(env, "sendmsg", failure);
  }
  return Napi::Boolean::New(env, true);
}

}  // namespace criu_service
