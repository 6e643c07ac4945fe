#include "error.h"

#include <cstring>
#include <string>

namespace criu_service {

Napi::Error SystemError(Napi::Env env, const char* syscall, int number, std::string_view detail) {
  // Name and description stay untranslated: the same failure reads the same in every locale.
  const char* name = strerrorname_np(number);
  const char* description = strerrordesc_np(number);
  std::string message =
      std::string(syscall) + ": " + (description != nullptr ? description : "unknown error");
  if (!detail.empty()) message.append(" (").append(detail).append(")");

  Napi::Error error = Napi::Error::New(env, message);
  Napi::Object object = error.Value();
  object.Set("code", name != nullptr ? std::string(name) : "E" + std::to_string(number));
  object.Set("errno", number);
  object.Set("syscall", syscall);
  return error;
}

}  // namespace criu_service
