// Work that may block, on threads that may be lost, and what comes of it on the event loop.
#pragma once

#include <memory>
#include <string>

#include "fd.h"
#include "napi_headers.h"

namespace criu_service {

// Runs once, on another thread, and is destroyed there.
class Work {
 public:
  Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  virtual ~Work() = default;
  virtual void Run() = 0;
};

// Work of which the event loop waits to hear. Thread and event loop share it: a thread that was
// lost may come back when the environment has ended.
class Task {
 public:
  Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  virtual ~Task() = default;
  // On the thread. What it throws is a failure for want of memory.
  virtual void Run() = 0;
  // On the event loop, afterwards. Throws a Napi::Error to reject.
  virtual Napi::Value Result(Napi::Env env) = 0;
};

// A detached thread without signals, which are for the threads of Node. Returns 0 or an errno.
int StartThread(std::unique_ptr<Work> work);

// What is in a lane is done in its order, on one thread; lanes do not wait for each other. Returns
// 0, or why there is no thread for it: then the next work of any lane, or a thread that is done,
// makes another attempt.
int AddToLane(const std::string& lane, std::unique_ptr<Work> work);
// Whether everything that was ever given to it is done.
bool IsLaneIdle(const std::string& lane);

// The result of a task, on a thread of its own; the program may end before it is there.
Napi::Promise Elsewhere(Napi::Env env, std::shared_ptr<Task> task);
// The result of a task, in a lane; the program waits for it.
Napi::Promise InLane(Napi::Env env, const std::string& lane, std::shared_ptr<Task> task);

}  // namespace criu_service
