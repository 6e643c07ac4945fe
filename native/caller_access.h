// What the kernel says to a caller: questions asked with that caller's rights, on a thread that has
// become it.
//
// Credentials are per thread for the kernel. The calls of libc that change them do so for the whole
// process, so that those here are system calls. A thread that has become the caller answers
// questions and ends; it never becomes anything else again.
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

// Which file it is, see inode(7).
struct FileIdentity {
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  uint64_t inode = 0;
};

// The path leads to a file, but to another one.
constexpr int kAnotherFile = -1;

// Takes the caller's file system ids and groups for this thread, gives up every capability, and
// verifies both. Returns 0 or an errno; whatever it returns, the thread must do nothing else but
// ask. The other ids stay those of the service, so that the caller can neither signal nor trace the
// thread; so does the address space, which is no longer dumpable.
int BecomeCaller(const Credentials& caller);

// Whether this thread may open `path`, which has no symbolic links in it, in a mode of R_OK, W_OK
// and X_OK, and finds this file there. Returns 0, kAnotherFile, or an errno. May block for as long
// as a file system likes.
int CanOpen(const std::string& path, const FileIdentity& file, int mode);

// Whether this thread may look into a process, as for its /proc/PID/exe (PTRACE_MODE_READ_FSCREDS
// of ptrace(2)). `process` is its directory, for example /proc/42. Returns 0 or an errno.
int CanLookInto(const std::string& process);

}  // namespace criu_service
