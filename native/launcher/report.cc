#include "report.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

namespace criu_service::launcher {
namespace {

// Above every number of the engine, and above the files that are opened meanwhile.
constexpr int kMovedControlFd = 32;

int control = kControlFd;

// MSG_NOSIGNAL: a service that has gone must not decide how the launcher ends.
bool Send(Answer answer, int fd) {
  iovec bytes{&answer, sizeof answer};
  alignas(cmsghdr) char ancillary[CMSG_SPACE(sizeof fd)] = {};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = ancillary;
    message.msg_controllen = sizeof ancillary;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  return ::sendmsg(control, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof answer);
}

}  // namespace

void MoveControl() {
  // The copy at 3 stays until the engine's socket takes its place, so that no other file gets the
  // number meanwhile.
  const int moved = ::fcntl(kControlFd, F_DUPFD_CLOEXEC, kMovedControlFd);
  Require(moved != -1, Step::kSelf, kControlFd);
  control = moved;
}

int ControlFd() { return control; }

void SendReady(int32_t images_fd, int32_t work_fd, int32_t status_fd, int64_t clocks,
               int service_socket) {
  const Answer answer{kMagic,    kVersion, Kind::kReady, Step::kNone, 0,
                      images_fd, work_fd,  status_fd,    clocks};
  // If the answer cannot be sent, the service would not use the engine, so it is not executed.
  Require(Send(answer, service_socket), Step::kAnswer);
}

void SendBorn(int64_t pid, int pidfd) {
  const Answer answer{kMagic, kVersion, Kind::kBorn, Step::kNone, 0, -1, -1, -1, pid};
  Require(Send(answer, pidfd), Step::kAnswer);
}

void SendPacket(const void* packet, size_t size) {
  Require(::send(control, packet, size, MSG_NOSIGNAL) == static_cast<ssize_t>(size), Step::kAnswer);
}

void Fail(Step step, int error, int64_t value) {
  Send({kMagic, kVersion, Kind::kFailed, step, error, -1, -1, -1, value}, -1);
  // Not exit(3), so that no library's exit handler runs.
  ::_exit(1);
}

}  // namespace criu_service::launcher
