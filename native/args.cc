#include "args.h"

#include <cmath>
#include <limits>

namespace criu_service {

void ThrowArgument(Napi::Env env, const std::string& name, const std::string& rule) {
  throw Napi::TypeError::New(env, name + " " + rule);
}

int64_t RequireInteger(const Napi::Value& value, const std::string& name, int64_t least,
                       int64_t most) {
  if (value.IsNumber()) {
    const double number = value.As<Napi::Number>().DoubleValue();
    // The bounds of all callers are safe integers, so the comparison in double is exact.
    if (std::trunc(number) == number && number >= static_cast<double>(least) &&
        number <= static_cast<double>(most)) {
      return static_cast<int64_t>(number);
    }
  }
  ThrowArgument(value.Env(), name,
                "must be an integer from " + std::to_string(least) + " to " + std::to_string(most));
}

int RequireInt(const Napi::Value& value, const std::string& name, int least, int most) {
  return static_cast<int>(RequireInteger(value, name, least, most));
}

std::string RequireString(const Napi::Value& value, const std::string& name) {
  if (!value.IsString()) ThrowArgument(value.Env(), name, "must be a string");
  std::string text = value.As<Napi::String>().Utf8Value();
  if (text.find('\0') != std::string::npos) {
    ThrowArgument(value.Env(), name, "must not contain a NUL");
  }
  return text;
}

std::vector<std::string> RequireStrings(const Napi::Value& value, const std::string& name) {
  const Napi::Array array = RequireArray(value, name);
  std::vector<std::string> strings;
  for (uint32_t index = 0; index < array.Length(); ++index) {
    strings.push_back(RequireString(array.Get(index), name + "[" + std::to_string(index) + "]"));
  }
  return strings;
}

Napi::Object RequireObject(const Napi::Value& value, const std::string& name) {
  if (!value.IsObject()) ThrowArgument(value.Env(), name, "must be an object");
  return value.As<Napi::Object>();
}

Napi::Array RequireArray(const Napi::Value& value, const std::string& name) {
  if (!value.IsArray()) ThrowArgument(value.Env(), name, "must be an array");
  return value.As<Napi::Array>();
}

Napi::Function RequireFunction(const Napi::Value& value, const std::string& name) {
  if (!value.IsFunction()) ThrowArgument(value.Env(), name, "must be a function");
  return value.As<Napi::Function>();
}

std::span<const std::byte> RequireBytes(const Napi::Value& value, const std::string& name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    ThrowArgument(value.Env(), name, "must be a Uint8Array");
  }
  const Napi::Uint8Array array = value.As<Napi::Uint8Array>();
  return std::as_bytes(std::span(array.Data(), array.ByteLength()));
}

OwnedFd& RequireFd(const Napi::Value& value, const std::string& name) {
  OwnedFd* owned = OwnedFd::From(value);
  if (owned == nullptr) ThrowArgument(value.Env(), name, "must be an OwnedFd");
  if (owned->Get() < 0)
    ThrowArgument(value.Env(), name, "must be open; it was closed or given away");
  return *owned;
}

std::vector<int> OptionalFds(const Napi::Value& value, const std::string& name, size_t most) {
  std::vector<int> numbers;
  if (value.IsUndefined()) return numbers;
  const Napi::Array array = RequireArray(value, name);
  if (array.Length() > most) {
    ThrowArgument(value.Env(), name, "must have at most " + std::to_string(most) + " elements");
  }
  for (uint32_t index = 0; index < array.Length(); ++index) {
    numbers.push_back(RequireFd(array.Get(index), name + "[" + std::to_string(index) + "]").Get());
  }
  return numbers;
}

}  // namespace criu_service
