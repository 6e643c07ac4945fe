#include "inherited.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "report.h"

namespace criu_service::launcher {
namespace {

constexpr unsigned kMemory = 1;  // Major numbers of devices, admin-guide/devices.txt of the kernel.
constexpr unsigned kConsole = 4;
constexpr unsigned kFirstPty = 136;
constexpr unsigned kLastPty = 143;

// File systems without a block device that have files of users. The kernel has many others: proc,
// sysfs, cgroups, bpf, pidfs, nsfs, and more to come; so this names those that are served.
constexpr std::array<uint32_t, 18> kOfUsers = {
    TMPFS_MAGIC,      // And memfd_create(2).
    HUGETLBFS_MAGIC,  //
    RAMFS_MAGIC,      //
    OVERLAYFS_SUPER_MAGIC,
    BTRFS_SUPER_MAGIC,
    NFS_SUPER_MAGIC,
    V9FS_MAGIC,
    FUSE_SUPER_MAGIC,
    CIFS_SUPER_MAGIC,
    SMB2_SUPER_MAGIC,
    CEPH_SUPER_MAGIC,
    AFS_FS_MAGIC,
    ECRYPTFS_SUPER_MAGIC,
    OCFS2_SUPER_MAGIC,
    0x2fc12fc1,  // ZFS.
    0xca451a4e,  // Bcachefs.
    0x0bd00bd0,  // Lustre.
    0x47504653,  // GPFS.
};

bool IsOfUsers(const struct stat& status, int fd) {
  // A block device is behind it. The kernel's own file systems have none.
  if (major(status.st_dev) != 0) return true;
  struct statfs system {};
  if (::fstatfs(fd, &system) != 0) return false;
  const auto type = static_cast<uint32_t>(system.f_type);
  return std::find(kOfUsers.begin(), kOfUsers.end(), type) != kOfUsers.end();
}

// Tells whether we could open the file ourselves as it is open.
bool CouldOpen(int fd, int flags) {
  char path[sizeof "/proc/self/fd/" + 11];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  const int access = flags & O_ACCMODE;
  const int wanted = (access == O_WRONLY ? 0 : R_OK) | (access == O_RDONLY ? 0 : W_OK);
  return ::faccessat(AT_FDCWD, path, wanted, AT_EACCESS) == 0;
}

InheritedFault JudgeDevice(const struct stat& status) {
  const unsigned kind = major(status.st_rdev);
  const unsigned which = minor(status.st_rdev);
  // null, zero, full, random, urandom.
  constexpr std::array<unsigned, 5> kHarmless = {3, 5, 7, 8, 9};
  if (kind == kMemory && std::find(kHarmless.begin(), kHarmless.end(), which) != kHarmless.end()) {
    return kInheritedServed;
  }
  if (kind == kConsole || (kind >= kFirstPty && kind <= kLastPty)) {
    return status.st_uid == ::geteuid() ? kInheritedServed : kInheritedTerminal;
  }
  return kInheritedDevice;
}

InheritedFault Judge(int fd, const struct stat& status, int flags) {
  if ((flags & O_PATH) != 0) return kInheritedPath;
  switch (status.st_mode & S_IFMT) {
    case S_IFIFO:
    case S_IFSOCK:
      return kInheritedServed;
    case S_IFREG:
      if (!IsOfUsers(status, fd)) return kInheritedKernel;
      return CouldOpen(fd, flags) ? kInheritedServed : kInheritedRights;
    case S_IFCHR:
      return JudgeDevice(status);
    case S_IFDIR:
      return kInheritedDirectory;
    case S_IFBLK:
      return kInheritedBlock;
    default:
      // Without a type: io_uring, epoll, bpf, a pidfd before Linux 6.9, and more (anon_inodes.c).
      return kInheritedKernel;
  }
}

// Tells a fault beside the caller's number.
int64_t Value(int number, InheritedFault fault) {
  return (static_cast<int64_t>(fault) << 32) | static_cast<uint32_t>(number);
}

void CopyOne(int number, int place) {
  const auto got = static_cast<int>(::syscall(SYS_pidfd_getfd, kCallerPidfd, number, 0U));
  Require(got != -1, Step::kInherited, Value(number, kInheritedServed));
  // The numbers from kFirstInheritedFd on are free, so the copy gets exactly this one.
  Require(::fcntl(got, F_DUPFD_CLOEXEC, place) == place, Step::kDescriptors, place);
  ::close(got);
  struct stat status {};
  Require(::fstat(place, &status) == 0, Step::kInherited, Value(number, kInheritedServed));
  const int flags = ::fcntl(place, F_GETFL);
  Require(flags != -1, Step::kInherited, Value(number, kInheritedServed));
  const InheritedFault fault = Judge(place, status, flags);
  if (fault != kInheritedServed) Fail(Step::kInherited, 0, Value(number, fault));
}

}  // namespace

void CopyInherited(const Request& request) {
  for (uint32_t index = 0; index < request.fixed.inherited_count; ++index) {
    CopyOne(request.inherited[index], kFirstInheritedFd + static_cast<int>(index));
  }
}

void KeepInherited(const Request& request) {
  for (uint32_t index = 0; index < request.fixed.inherited_count; ++index) {
    const int place = kFirstInheritedFd + static_cast<int>(index);
    Require(::fcntl(place, F_SETFD, 0) == 0, Step::kDescriptors, place);
  }
}

}  // namespace criu_service::launcher
