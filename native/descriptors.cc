// Descriptors other than sockets: adopted, copied, opened, made of memory.
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <limits>
#include <string>

#include "addon.h"
#include "args.h"
#include "error.h"
#include "kernel.h"

namespace criu_service {
namespace {

constexpr int kLargestInt = std::numeric_limits<int>::max();
// Largest size of a memfd. A memfd holds a session's state, and a wrong number must not look valid.
constexpr int kLargestMemfd = 1 << 30;
// Mode of a file that open() creates, if the caller gives no mode: read and write for the owner.
constexpr mode_t kPrivateFile = 0600;
constexpr mode_t kModes = 07777;
// SIOCUNIXFILE of linux/un.h, which cannot be included beside sys/un.h.
constexpr unsigned long kSocketFile = SIOCPROTOPRIVATE;

// Glibc has wrappers for these two calls since 2.36 (Debian 12); older versions lack them.
int PidfdOpenCall(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U)); }
int PidfdGetfdCall(int pidfd, int number) {
  return static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, number, 0U));
}

Napi::Value Duplicate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int source = RequireFd(info[0], "fd").Get();
  return OwnedFd::New(env, UniqueFd(Check(env, "fcntl", ::fcntl(source, F_DUPFD_CLOEXEC, 0))));
}

Napi::Value Open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = RequireString(info[0], "path");
  const int flags = RequireInt(info[1], "flags", 0, kLargestInt);
  const auto mode = info[2].IsUndefined()
                        ? kPrivateFile
                        : static_cast<mode_t>(RequireInt(info[2], "mode", 0, kModes));
  // O_NOCTTY: the service never takes a terminal as its own, see open(2).
  const int fd =
      RetryOnSignal([&] { return ::open(path.c_str(), flags | O_CLOEXEC | O_NOCTTY, mode); });
  return OwnedFd::New(env, UniqueFd(Check(env, "open", fd, path)));
}

Napi::Value Memfd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string name = RequireString(info[0], "name");
  const int size = RequireInt(info[1], "size", 0, kLargestMemfd);
  constexpr unsigned int kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  // If vm.memfd_noexec is 1 or 2, the kernel logs or refuses a memfd without this flag. Linux
  // before 6.3 refuses the flag with EINVAL; a bad name gets EINVAL both times.
  UniqueFd fd(::memfd_create(name.c_str(), kFlags | MFD_NOEXEC_SEAL));
  if (!fd.IsOpen() && errno == EINVAL) fd.Reset(::memfd_create(name.c_str(), kFlags));
  Check(env, "memfd_create", fd.Get());
  Check(env, "ftruncate", ::ftruncate(fd.Get(), size));
  Check(env, "fcntl", ::fcntl(fd.Get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL),
        "F_ADD_SEALS");
  return OwnedFd::New(env, fd);
}

Napi::Value PidfdOpen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int pid = RequireInt(info[0], "pid", 1, kLargestInt);
  return OwnedFd::New(env, UniqueFd(Check(env, "pidfd_open", PidfdOpenCall(pid))));
}

Napi::Value PidfdGetfd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int pidfd = RequireFd(info[0], "pidfd").Get();
  const int number = RequireInt(info[1], "number", 0, kLargestInt);
  return OwnedFd::New(env, UniqueFd(Check(env, "pidfd_getfd", PidfdGetfdCall(pidfd, number))));
}

Napi::Value SocketFile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int socket = RequireFd(info[0], "socket").Get();
  return OwnedFd::New(
      env, UniqueFd(Check(env, "ioctl", ::ioctl(socket, kSocketFile, 0), "SIOCUNIXFILE")));
}

}  // namespace

void ExportDescriptors(Napi::Env env, Napi::Object exports) {
  exports.Set("duplicate", Napi::Function::New<Duplicate>(env, "duplicate"));
  exports.Set("open", Napi::Function::New<Open>(env, "open"));
  exports.Set("memfd", Napi::Function::New<Memfd>(env, "memfd"));
  exports.Set("pidfdOpen", Napi::Function::New<PidfdOpen>(env, "pidfdOpen"));
  exports.Set("pidfdGetfd", Napi::Function::New<PidfdGetfd>(env, "pidfdGetfd"));
  exports.Set("socketFile", Napi::Function::New<SocketFile>(env, "socketFile"));
}

}  // namespace criu_service
