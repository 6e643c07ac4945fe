// Locks that node:fs lacks.
#include <sys/file.h>

#include <cerrno>

#include "addon.h"
#include "args.h"
#include "error.h"

namespace criu_service {
namespace {

Napi::Value Lock(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  OwnedFd& fd = RequireFd(info[0], "fd");
  int result = -1;
  do {
    result = ::flock(fd.Get(), LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result != 0 && errno == EWOULDBLOCK) return Napi::Boolean::New(env, false);
  Check(env, "flock", result);
  return Napi::Boolean::New(env, true);
}

}  // namespace

void ExportLocks(Napi::Env env, Napi::Object exports) {
  exports.Set("lock", Napi::Function::New<Lock>(env, "lock"));
}

}  // namespace criu_service
