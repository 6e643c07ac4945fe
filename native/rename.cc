// Renames that node:fs lacks.
#include <fcntl.h>

#include <cstdio>
#include <string>

#include "addon.h"
#include "args.h"
#include "error.h"

namespace criu_service {
namespace {

Napi::Value Exchange(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string one = RequireString(info[0], "one");
  const std::string other = RequireString(info[1], "other");
  Check(env, "renameat2",
        ::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE), one);
  return env.Undefined();
}

}  // namespace

void ExportRenames(Napi::Env env, Napi::Object exports) {
  exports.Set("exchange", Napi::Function::New<Exchange>(env, "exchange"));
}

}  // namespace criu_service
