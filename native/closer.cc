// Closing what may block: a connection whose queue holds descriptors of its peer's.
//
// The queue has the last reference to them, and the last close of a TCP socket with SO_LINGER waits
// for as long as its owner likes (socket(7)). So such a connection is closed on a thread that may
// be lost.
#include <atomic>
#include <system_error>
#include <thread>

#include "addon.h"
#include "args.h"
#include "error.h"

namespace criu_service {
namespace {

std::atomic<int> pending{0};

void CloseElsewhere(const Napi::CallbackInfo& info) {
  UniqueFd fd = RequireFd(info[0], "fd").Take();
  ++pending;
  try {
    std::thread([number = fd.Get()] {
      UniqueFd(number).Reset();
      --pending;
    }).detach();
  } catch (const std::system_error& error) {
    --pending;
    throw SystemError(info.Env(), "pthread_create", error.code().value());
  }
  fd.Release();
}

Napi::Value PendingCloses(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), pending.load());
}

}  // namespace

void ExportCloser(Napi::Env env, Napi::Object exports) {
  exports.Set("closeElsewhere", Napi::Function::New(env, CloseElsewhere, "closeElsewhere"));
  exports.Set("pendingCloses", Napi::Function::New(env, PendingCloses, "pendingCloses"));
}

}  // namespace criu_service
