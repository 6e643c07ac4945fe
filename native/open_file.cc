// Facts that the kernel knows about an open file.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <csignal>
#include <string>

#include "addon.h"
#include "args.h"
#include "error.h"

namespace criu_service {
namespace {

constexpr mode_t kPermissions = 07777;

Napi::Value OpenElsewhere(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = RequireFd(info[0], "fd").Get();
  const std::string by = RequireString(info[1], "by");
  if (by != "writer" && by != "anybody") ThrowArgument(env, "by", "must be 'writer' or 'anybody'");
  // If an open(2) meets the lease in its short life, the kernel sends us the lease's signal. The
  // default signal, SIGIO, would end us; SIGURG is ignored.
  Check(env, "fcntl", ::fcntl(fd, F_SETSIG, SIGURG), "F_SETSIG");
  if (::fcntl(fd, F_SETLEASE, by == "writer" ? F_RDLCK : F_WRLCK) == -1) {
    if (errno == EAGAIN) return Napi::Boolean::New(env, true);
    // The file system has no leases.
    if (errno == EINVAL) return Napi::Boolean::New(env, false);
    throw SystemError(env, "fcntl", errno, "F_SETLEASE");
  }
  Check(env, "fcntl", ::fcntl(fd, F_SETLEASE, F_UNLCK), "F_SETLEASE");
  return Napi::Boolean::New(env, false);
}

Napi::Value Ownership(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = RequireFd(info[0], "fd").Get();
  constexpr unsigned int kWanted = STATX_MODE | STATX_UID;
  struct statx status {};
  // AT_STATX_DONT_SYNC: use cached attributes, so that the call does not wait for a FUSE server or
  // another machine.
  Check(env, "statx", ::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, kWanted, &status));
  if ((status.stx_mask & kWanted) != kWanted) throw SystemError(env, "statx", ENODATA);
  Napi::Object ownership = Napi::Object::New(env);
  ownership.Set("uid", Napi::Number::New(env, status.stx_uid));
  ownership.Set("mode", Napi::Number::New(env, status.stx_mode & kPermissions));
  return ownership;
}

}  // namespace

void ExportOpenFiles(Napi::Env env, Napi::Object exports) {
  exports.Set("openElsewhere", Napi::Function::New<OpenElsewhere>(env, "openElsewhere"));
  exports.Set("ownership", Napi::Function::New<Ownership>(env, "ownership"));
}

}  // namespace criu_service
