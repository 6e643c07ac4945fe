// The errors that JavaScript sees: a NativeError (code, errno, syscall) for a failing system call,
// and a TypeError that names the parameter for a wrong argument. src/native/binding.ts declares
// both.
#pragma once

#include <cerrno>
#include <string_view>

#include "napi_headers.h"

namespace criu_service {

// A NativeError for `number`. `detail` (a path, a sentence) ends the message.
Napi::Error SystemError(Napi::Env env, const char* syscall, int number,
                        std::string_view detail = {});

// Throws a NativeError from errno if a call has returned -1. Call this directly after the call,
// before a destructor, an allocation or JavaScript can change errno.
template <typename Result>
Result Check(Napi::Env env, const char* syscall, Result result, std::string_view detail = {}) {
  if (result == static_cast<Result>(-1)) throw SystemError(env, syscall, errno, detail);
  return result;
}

// Repeats a system call that a signal interrupted, see signal(7).
template <typename Call>
auto RetryOnSignal(Call call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

}  // namespace criu_service
