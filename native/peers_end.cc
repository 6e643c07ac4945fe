// A copy of the other end of a connection, from the process that holds it.
//
// The kernel tells a socket's peer by its inode number alone, to sock_diag(7). So the process that
// connected is searched for a descriptor with that number. Its owner may replace it at any moment,
// and a copy of something else may block in its close(2); so all of this is done on a thread.
#include <dirent.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "addon.h"
#include "args.h"
#include "elsewhere.h"
#include "error.h"

namespace criu_service {
namespace {

// A process may have a million descriptors, and each of its requests would search all of them.
constexpr int kMostLooks = 65'536;

struct Question {
  nlmsghdr head;
  unix_diag_req request;
};

// The attribute UNIX_DIAG_PEER of one answer.
std::optional<uint32_t> PeerIn(const char* answer, size_t size) {
  nlmsghdr head{};
  if (size < NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(unix_diag_msg))) return std::nullopt;
  std::memcpy(&head, answer, sizeof head);
  if (head.nlmsg_type != SOCK_DIAG_BY_FAMILY || head.nlmsg_len > size) return std::nullopt;
  size_t at = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(unix_diag_msg));
  while (at + sizeof(rtattr) <= head.nlmsg_len) {
    rtattr attribute{};
    std::memcpy(&attribute, answer + at, sizeof attribute);
    if (attribute.rta_len < sizeof attribute || at + attribute.rta_len > head.nlmsg_len) break;
    uint32_t inode = 0;
    if (attribute.rta_type == UNIX_DIAG_PEER && attribute.rta_len == RTA_LENGTH(sizeof inode)) {
      std::memcpy(&inode, answer + at + RTA_LENGTH(0), sizeof inode);
      return inode;
    }
    at += RTA_ALIGN(attribute.rta_len);
  }
  return std::nullopt;
}

// The inode number of a Unix socket's peer. Nothing if the peer has closed its end.
std::optional<uint32_t> PeersInode(ino_t socket) {
  const UniqueFd diag(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!diag.IsOpen()) return std::nullopt;
  Question question{};
  question.head.nlmsg_len = sizeof question;
  question.head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.head.nlmsg_flags = NLM_F_REQUEST;
  question.request.sdiag_family = AF_UNIX;
  question.request.udiag_states = ~0U;
  question.request.udiag_ino = static_cast<uint32_t>(socket);
  question.request.udiag_show = UDIAG_SHOW_PEER;
  // No cookie: any socket with this number.
  question.request.udiag_cookie[0] = ~0U;
  question.request.udiag_cookie[1] = ~0U;
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (RetryOnSignal([&] {
        return ::sendto(diag.Get(), &question, sizeof question, 0,
                        reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel);
      }) == -1) {
    return std::nullopt;
  }
  // The kernel answers within sendto(2).
  alignas(nlmsghdr) std::array<char, 1024> answer{};
  const ssize_t size =
      RetryOnSignal([&] { return ::recv(diag.Get(), answer.data(), answer.size(), MSG_DONTWAIT); });
  return size == -1 ? std::nullopt : PeerIn(answer.data(), static_cast<size_t>(size));
}

struct DirectoryCloser {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, DirectoryCloser>;

Directory OpenTable(const UniqueFd& process) {
  UniqueFd fd(::openat(process.Get(), "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  Directory table(fd.IsOpen() ? ::fdopendir(fd.Get()) : nullptr);
  if (table != nullptr) fd.Release();
  return table;
}

class PeersEndWork : public Task {
 public:
  PeersEndWork(UniqueFd connection, UniqueFd pidfd, UniqueFd process)
      : connection_(std::move(connection)),
        pidfd_(std::move(pidfd)),
        process_(std::move(process)) {}

  void Run() override {
    socklen_t length = sizeof connected_;
    const bool is_connected =
        ::getsockopt(connection_.Get(), SOL_SOCKET, SO_PEERCRED, &connected_, &length) == 0;
    if (is_connected) Find();
    connection_.Reset();
    pidfd_.Reset();
    process_.Reset();
  }

  Napi::Value Result(Napi::Env env) override {
    if (!end_.IsOpen()) return env.Undefined();
    return OwnedFd::NewInLane(env, std::move(end_), connected_.uid);
  }

 private:
  void Find() {
    struct stat ours {};
    if (::fstat(connection_.Get(), &ours) == -1) return;
    const std::optional<uint32_t> peer = PeersInode(ours.st_ino);
    const Directory table = peer ? OpenTable(process_) : nullptr;
    if (table == nullptr) return;
    const std::string wanted = "socket:[" + std::to_string(*peer) + "]";
    // Only this thread uses the stream, as readdir(3) demands.
    for (int looks = 0; looks < kMostLooks; ++looks) {
      const dirent* entry = ::readdir(table.get());  // NOLINT(concurrency-mt-unsafe)
      if (entry == nullptr) return;
      const std::string_view name = static_cast<const char*>(entry->d_name);
      std::array<char, 64> link{};
      const ssize_t length =
          ::readlinkat(::dirfd(table.get()), entry->d_name, link.data(), link.size());
      if (length == -1 || wanted != std::string_view(link.data(), static_cast<size_t>(length))) {
        continue;
      }
      int number = -1;
      std::from_chars(name.data(), name.data() + name.size(), number);
      UniqueFd copy(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd_.Get(), number, 0U)));
      // The process may have put another file there meanwhile.
      struct stat status {};
      if (copy.IsOpen() && ::fstat(copy.Get(), &status) == 0 && S_ISSOCK(status.st_mode) &&
          status.st_dev == ours.st_dev && status.st_ino == *peer) {
        end_ = std::move(copy);
        return;
      }
    }
  }

  UniqueFd connection_;
  UniqueFd pidfd_;
  UniqueFd process_;
  ucred connected_{};
  UniqueFd end_;
};

UniqueFd CopyOf(Napi::Env env, const Napi::Value& value, const std::string& name) {
  const int fd = RequireFd(value, name).Get();
  return UniqueFd(Check(env, "fcntl", ::fcntl(fd, F_DUPFD_CLOEXEC, 0)));
}

Napi::Value PeersEnd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  UniqueFd connection = CopyOf(env, info[0], "connection");
  UniqueFd pidfd = CopyOf(env, info[1], "pidfd");
  UniqueFd process = CopyOf(env, info[2], "process");
  return Elsewhere(env, std::make_shared<PeersEndWork>(std::move(connection), std::move(pidfd),
                                                       std::move(process)));
}

}  // namespace

void ExportPeersEnd(Napi::Env env, Napi::Object exports) {
  exports.Set("peersEnd", Napi::Function::New(env, PeersEnd, "peersEnd"));
}

}  // namespace criu_service
