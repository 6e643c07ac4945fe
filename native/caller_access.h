// Permission checks with a caller's rights, on a thread that has become the caller.
//
// For the kernel, credentials are per thread. The functions of libc change them for the whole
// process, so this file makes the system calls itself. A thread that has become the caller asks the
// kernel and exits; it never changes identity again.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace criu_service {

struct Credentials {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
};

// Identity of a file, see inode(7).
struct FileIdentity {
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  uint64_t inode = 0;
};

// The path leads to a different file.
constexpr int kAnotherFile = -1;

// Gives this thread the caller's file system ids and groups, gives up every capability, and
// verifies both. Returns 0 or an errno. Afterwards, even after a failure, the thread may only ask.
// The real, effective and saved ids stay those of the service, so that the caller can neither
// signal nor trace the thread. The address space stays the service's, too; it is no longer
// dumpable.
int BecomeCaller(const Credentials& caller);

// Tells whether this thread may open `path` in a mode of R_OK, W_OK and X_OK and finds this file
// there. `path` has no symbolic links in it. Returns 0, kAnotherFile, or an errno. May block for as
// long as a file system likes.
int CanOpen(const std::string& path, const FileIdentity& file, int mode);

// Tells whether this thread may look into a process, as for its /proc/PID/exe
// (PTRACE_MODE_READ_FSCREDS of ptrace(2)). `process` is its directory, for example /proc/42.
// Returns 0 or an errno.
int CanLookInto(const std::string& process);

}  // namespace criu_service
