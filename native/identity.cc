// Identifies the file at a path by a text that changes if the file is replaced or written to.
#include <sys/stat.h>

#include <cerrno>
#include <string>
#include <vector>

#include "addon.h"
#include "args.h"
#include "error.h"

namespace criu_service {
namespace {

std::string Nanoseconds(const timespec& time) {
  return std::to_string(time.tv_sec) + '.' + std::to_string(time.tv_nsec);
}

// The time of change (ctime) cannot be set by any program. The mode tells whether the file may be
// executed.
std::string Identity(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == -1) return path + '!' + std::to_string(errno);
  std::string identity = path;
  for (const auto number : {status.st_dev, status.st_ino, static_cast<ino_t>(status.st_mode),
                            static_cast<ino_t>(status.st_size)}) {
    identity.append(":").append(std::to_string(number));
  }
  return identity + ':' + Nanoseconds(status.st_mtim) + ':' + Nanoseconds(status.st_ctim);
}

Napi::Value FileIdentities(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::vector<std::string> paths = RequireStrings(info[0], "paths");
  std::string identities;
  for (const std::string& path : paths) identities.append(Identity(path)).push_back('\n');
  return Napi::String::New(env, identities);
}

}  // namespace

void ExportIdentities(Napi::Env env, Napi::Object exports) {
  exports.Set("fileIdentities", Napi::Function::New(env, FileIdentities, "fileIdentities"));
}

}  // namespace criu_service
