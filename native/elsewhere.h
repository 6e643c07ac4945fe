// Work on a thread of its own, which may be lost: whatever blocks it holds up nothing else.
#pragma once

#include <memory>

#include "napi_headers.h"

namespace criu_service {

// What the thread and the event loop share. Either may be the last: a thread that was lost may come
// back when the environment has ended.
class Work {
 public:
  virtual ~Work() = default;
  // On the thread. Running out of memory is the one thing that it may throw.
  virtual void Run() = 0;
  // On the event loop, when Run() is over: what the promise resolves with. A Napi::Error that it
  // throws rejects the promise.
  virtual Napi::Value Result(Napi::Env env) = 0;
};

// Starts the thread. Throws a NativeError when none can be had. The promise does not keep the event
// loop from ending.
Napi::Promise RunElsewhere(Napi::Env env, std::shared_ptr<Work> work);

}  // namespace criu_service
