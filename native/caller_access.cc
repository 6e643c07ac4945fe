#include "caller_access.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "error.h"
#include "fd.h"

namespace criu_service {
namespace {

constexpr uid_t kNoId = static_cast<uid_t>(-1);

// The two halves of a thread's capability sets in version 3, see capset(2).
using Halves = std::array<__user_cap_data_struct, 2>;

int SetCapabilities(uint32_t low) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const Halves halves = {{{low, low, 0}, {0, 0, 0}}};
  return ::syscall(SYS_capset, &header, halves.data()) == 0 ? 0 : errno;
}

bool HasNoCapability() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  Halves halves{};
  if (::syscall(SYS_capget, &header, halves.data()) != 0) return false;
  return std::all_of(halves.begin(), halves.end(), [](const __user_cap_data_struct& half) {
    return half.effective == 0 && half.permitted == 0 && half.inheritable == 0;
  });
}

bool HasGroups(const std::vector<gid_t>& groups) {
  std::vector<gid_t> held(groups.size() + 1);
  const long count = ::syscall(SYS_getgroups, held.size(), held.data());
  if (count != static_cast<long>(groups.size())) return false;
  held.resize(groups.size());
  std::vector<gid_t> wanted = groups;
  // The kernel keeps a thread's groups sorted.
  std::sort(wanted.begin(), wanted.end());
  std::sort(held.begin(), held.end());
  return held == wanted;
}

// Both calls return the previous id. An invalid id changes nothing, see setfsuid(2).
bool HasIds(const Credentials& caller) {
  return ::syscall(SYS_setfsuid, kNoId) == static_cast<long>(caller.uid) &&
         ::syscall(SYS_setfsgid, kNoId) == static_cast<long>(caller.gid);
}

}  // namespace

int BecomeCaller(const Credentials& caller) {
  // A thread of uid 0 would keep the privileges that this function gives up.
  if (caller.uid == 0 || caller.uid == kNoId || caller.gid == kNoId) return EINVAL;
  // Give up all other capabilities first, so that no thread with this uid ever holds a capability
  // that is reserved for engines.
  const int narrowed = SetCapabilities(1U << CAP_SETUID | 1U << CAP_SETGID);
  if (narrowed != 0) return narrowed;
  if (::syscall(SYS_setgroups, caller.groups.size(), caller.groups.data()) != 0) return errno;
  // Both calls report no failure; HasIds() below reads the result.
  ::syscall(SYS_setfsgid, caller.gid);
  ::syscall(SYS_setfsuid, caller.uid);
  const int emptied = SetCapabilities(0);
  if (emptied != 0) return emptied;
  return HasNoCapability() && HasIds(caller) && HasGroups(caller.groups) ? 0 : EPERM;
}

int CanOpen(const std::string& path, const FileIdentity& file, int mode) {
  open_how how{};
  // O_PATH finds the file without opening it, also if it is a device or a FIFO.
  how.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW;
  // The kernel named the path without symbolic links. If the caller has put a link there since, it
  // is not followed, above all not into the files that this process has open.
  how.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  const UniqueFd found(static_cast<int>(RetryOnSignal(
      [&] { return ::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how); })));
  if (!found.IsOpen()) return errno;
  struct statx there {};
  if (::statx(found.Get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &there) != 0) {
    return errno;
  }
  if ((there.stx_mask & STATX_INO) == 0 || there.stx_ino != file.inode ||
      there.stx_dev_major != file.device_major || there.stx_dev_minor != file.device_minor) {
    return kAnotherFile;
  }
  // AT_EACCESS: check the file system ids and the effective capabilities. Without this flag the
  // kernel would check the real uid, which is the service's.
  if (mode != 0 &&
      ::syscall(SYS_faccessat2, found.Get(), "", mode, AT_EACCESS | AT_EMPTY_PATH) != 0) {
    return errno;
  }
  return 0;
}

int CanLookInto(const std::string& process) {
  // The kernel always lets threads of one process look into each other.
  const std::string number = process.substr(process.rfind('/') + 1);
  if (::access(("/proc/self/task/" + number).c_str(), F_OK) == 0) return EPERM;
  std::array<char, PATH_MAX> target{};
  const ssize_t length = ::readlink((process + "/exe").c_str(), target.data(), target.size());
  return length == -1 ? errno : 0;
}

}  // namespace criu_service
