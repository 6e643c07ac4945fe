#include "clocks.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "identity.h"
#include "report.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080  // Linux 5.6; glibc 2.36.
#endif

namespace criu_service::launcher {
namespace {

// A file that was left by no process, so it has no number in its name (timens-%u in CRIU's
// image-desc.c). A dump of a tree in another time namespace than CRIU's has another number, and
// CRIU without root does not restore it.
constexpr char kClocksImage[] = "timens-0.img";

constexpr long kNanosecondsPerSecond = 1'000'000'000;

int offsets_fd = -1;
int64_t inode = 0;

// Static, not on the stack, because the caller's RLIMIT_STACK will be ours.
ClocksPacket packet;

bool Is(const Request& request, uint32_t flag) { return (request.fixed.flags & flag) != 0; }

// Fills the packet with the image, if there is one. The file is opened as CRIU will open it: by the
// caller, through every link that the caller may follow. RESOLVE_NO_MAGICLINKS leaves out the links
// of /proc/PID, which CAP_CHECKPOINT_RESTORE, in effect now, opens to this process (map_files).
// O_NONBLOCK: a FIFO would wait for a writer. A file system that does not answer delays us until
// the service's deadline.
void ReadImage(int images) {
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  how.resolve = RESOLVE_NO_MAGICLINKS;
  packet.image_size = -1;
  const auto fd = static_cast<int>(::syscall(SYS_openat2, images, kClocksImage, &how, sizeof how));
  if (fd == -1 && errno == ENOENT) return;
  Require(fd != -1, Step::kClocks, kClocksCannotBeRead);
  struct stat file {};
  Require(::fstat(fd, &file) == 0, Step::kClocks, kClocksCannotBeRead);
  if (!S_ISREG(file.st_mode)) Fail(Step::kClocks, 0, kClocksNotRegular);
  size_t size = 0;
  while (size < sizeof packet.image) {
    const ssize_t count = ::read(fd, packet.image + size, sizeof packet.image - size);
    Require(count != -1, Step::kClocks, kClocksCannotBeRead);
    if (count == 0) break;
    size += static_cast<size_t>(count);
  }
  ::close(fd);
  packet.image_size = static_cast<int32_t>(size);
}

ClockTime Now(clockid_t clock) {
  timespec now{};
  Require(::clock_gettime(clock, &now) == 0, Step::kClocks, kClocksCannotBeRead);
  return {now.tv_sec, now.tv_nsec};
}

bool IsTime(const ClockTime& time) {
  return time.nanoseconds >= 0 && time.nanoseconds < kNanosecondsPerSecond;
}

ClocksAnswer ReceiveAnswer() {
  ClocksAnswer answer{};
  // The end of the connection: the service has refused the request, or has gone.
  const ssize_t size = ::recv(ControlFd(), &answer, sizeof answer, MSG_TRUNC);
  Require(size != -1, Step::kClocks, kClocksNoAnswer);
  const bool is_answer = size == static_cast<ssize_t>(sizeof answer) && answer.magic == kMagic &&
                         answer.version == kVersion && answer.set <= 1 && answer.unused == 0 &&
                         IsTime(answer.monotonic) && IsTime(answer.boottime);
  if (!is_answer) Fail(Step::kClocks, EPROTO, kClocksNoAnswer);
  return answer;
}

}  // namespace

void JoinTime(const Request& request) {
  if (!Is(request, kJoinTime)) return;
  Require(::setns(kTimePidfd, CLONE_NEWTIME) == 0, Step::kTime, kTimeJoin);
}

void MakeClocks(const Request& request) {
  if (!Is(request, kOwnClocks)) return;
  // The kernel counts time namespaces for the effective uid of their maker (the limit
  // user.max_time_namespaces), and a descriptor keeps one for ever. They are the caller's, so
  // root's share stays free. Only the effective uid changes, so the caller can neither trace nor
  // signal us.
  Require(::setresuid(static_cast<uid_t>(-1), request.fixed.uid, static_cast<uid_t>(-1)) == 0,
          Step::kUid, request.fixed.uid);
  SetEffective(uint64_t{1} << CAP_SYS_ADMIN, Step::kTime);
  Require(::unshare(CLONE_NEWTIME) == 0, Step::kTime, kTimeMake);
  Require(::setresuid(static_cast<uid_t>(-1), 0, static_cast<uid_t>(-1)) == 0, Step::kUid);

  // The kernel asks for CAP_SYS_TIME of the process that opened the file, not of its writer
  // (proc_timens_set_offset). So the clocks are set when every capability is gone.
  offsets_fd = ::open("/proc/self/timens_offsets", O_RDWR | O_CLOEXEC);
  Require(offsets_fd != -1, Step::kTime, kTimeOffsets);
  // The offsets of the namespace that we are in: the new one begins with them.
  const ssize_t size = ::pread(offsets_fd, packet.own, sizeof packet.own, 0);
  Require(size > 0, Step::kTime, kTimeOffsets);
  packet.own_size = static_cast<uint32_t>(size);
  struct stat made {};
  Require(::stat("/proc/self/ns/time_for_children", &made) == 0, Step::kTime, kTimeOffsets);
  inode = static_cast<int64_t>(made.st_ino);
}

void SetClocks(const Request& request, int images) {
  if (!Is(request, kOwnClocks)) return;
  ReadImage(images);
  packet.magic = kMagic;
  packet.version = kVersion;
  packet.kind = Kind::kClocks;
  // Read the clocks last: the file may have taken long.
  packet.monotonic = Now(CLOCK_MONOTONIC);
  packet.boottime = Now(CLOCK_BOOTTIME);
  SendPacket(&packet, sizeof packet);
  const ClocksAnswer answer = ReceiveAnswer();
  if (answer.set != 0) {
    char text[160];
    const int size = std::snprintf(text, sizeof text, "monotonic %lld %lld\nboottime %lld %lld\n",
                                   static_cast<long long>(answer.monotonic.seconds),
                                   static_cast<long long>(answer.monotonic.nanoseconds),
                                   static_cast<long long>(answer.boottime.seconds),
                                   static_cast<long long>(answer.boottime.nanoseconds));
    // pread(2) has left the position at 0, and the kernel takes the whole text at once or none.
    Require(::write(offsets_fd, text, static_cast<size_t>(size)) == size, Step::kClocks,
            kClocksNotSet);
  }
  ::close(offsets_fd);
}

int64_t ClocksInode() { return inode; }

}  // namespace criu_service::launcher
