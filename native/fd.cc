#include "fd.h"

#include "addon.h"
#include "closer.h"

namespace criu_service {
namespace {

// A type tag proves that an object wraps an OwnedFd. A prototype could be borrowed.
constexpr napi_type_tag kOwnedFdTag = {0x6372697573657276U, 0x6f776e6564666401U};

}  // namespace

void FdSlot::Close() {
  UniqueFd taken = Take();
  // If the lane has no thread, the close waits for the next thread of its lane.
  if (taken.IsOpen() && lane) static_cast<void>(CloseElsewhere(*lane, std::move(taken)));
}

Napi::Function OwnedFd::Define(Napi::Env env) {
  return DefineClass(env, "OwnedFd",
                     {
                         InstanceAccessor<&OwnedFd::Number>("number"),
                         InstanceMethod<&OwnedFd::CloseMethod>("close"),
                     });
}

Napi::Object OwnedFd::New(Napi::Env env, UniqueFd& fd) {
  return Addon::Of(env).owned_fd.New({Napi::External<UniqueFd>::New(env, &fd)});
}

Napi::Object OwnedFd::NewInLane(Napi::Env env, UniqueFd fd, uint32_t lane) {
  try {
    Napi::Object object = New(env, fd);
    Unwrap(object)->slot_->lane = lane;
    return object;
  } catch (...) {
    static_cast<void>(CloseElsewhere(lane, std::move(fd)));
    throw;
  }
}

Napi::Array OwnedFd::NewArray(Napi::Env env, std::vector<UniqueFd> fds) {
  std::vector<OwnedFd*> made;
  made.reserve(fds.size());
  try {
    Napi::Array array = Napi::Array::New(env, fds.size());
    for (size_t index = 0; index < fds.size(); ++index) {
      Napi::Object object = New(env, fds[index]);
      made.push_back(Unwrap(object));
      array.Set(static_cast<uint32_t>(index), object);
    }
    return array;
  } catch (...) {
    // The objects made so far are unreachable. Close their descriptors now, not at garbage
    // collection.
    for (OwnedFd* owned : made) owned->Take().Reset();
    throw;
  }
}

OwnedFd* OwnedFd::From(const Napi::Value& value) {
  if (!value.IsObject()) return nullptr;
  Napi::Object object = value.As<Napi::Object>();
  return object.CheckTypeTag(&kOwnedFdTag) ? Unwrap(object) : nullptr;
}

OwnedFd::OwnedFd(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  // JavaScript reaches this constructor through `fd.constructor`, but cannot make an External.
  if (!info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(), "an OwnedFd comes only from a call of this addon");
  }
  info.This().As<Napi::Object>().TypeTag(&kOwnedFdTag);
  slot_->fd = std::move(*info[0].As<Napi::External<UniqueFd>>().Data());
}

Napi::Value OwnedFd::Number(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), Get());
}

void OwnedFd::CloseMethod(const Napi::CallbackInfo&) { slot_->Close(); }

}  // namespace criu_service
