// Arguments, checked at entry: a wrong argument throws a TypeError that names the parameter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "fd.h"
#include "napi_headers.h"

namespace criu_service {

[[noreturn]] void ThrowArgument(Napi::Env env, const std::string& name, const std::string& rule);

int64_t RequireInteger(const Napi::Value& value, const std::string& name, int64_t least,
                       int64_t most);
int RequireInt(const Napi::Value& value, const std::string& name, int least, int most);
// A string without a NUL, because the kernel would stop reading there.
std::string RequireString(const Napi::Value& value, const std::string& name);
std::vector<std::string> RequireStrings(const Napi::Value& value, const std::string& name);
Napi::Object RequireObject(const Napi::Value& value, const std::string& name);
Napi::Array RequireArray(const Napi::Value& value, const std::string& name);
Napi::Function RequireFunction(const Napi::Value& value, const std::string& name);
// The bytes of a Uint8Array (or Buffer). JavaScript owns them: they are valid during this call
// only.
std::span<const std::byte> RequireBytes(const Napi::Value& value, const std::string& name);
// An open OwnedFd.
OwnedFd& RequireFd(const Napi::Value& value, const std::string& name);
// The numbers of at most `most` open OwnedFds. Empty for undefined.
std::vector<int> OptionalFds(const Napi::Value& value, const std::string& name, size_t most);

}  // namespace criu_service
