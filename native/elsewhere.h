// Runs work that may block on threads that may be lost, and brings its result to the event loop.
#pragma once

#include <memory>
#include <string>

#include "fd.h"
#include "napi_headers.h"

namespace criu_service {

// Runs once on another thread, and is destroyed there.
class Work {
 public:
  Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  virtual ~Work() = default;
  virtual void Run() = 0;
};

// Work whose result the event loop waits for. Thread and event loop share the task, because a lost
// thread may come back after the environment has ended.
class Task {
 public:
  Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  virtual ~Task() = default;
  // Runs on the thread. An exception is taken for a lack of memory.
  virtual void Run() = 0;
  // Runs on the event loop, afterwards. Throws a Napi::Error to reject.
  virtual Napi::Value Result(Napi::Env env) = 0;
};

// Starts a detached thread with all signals blocked, so that Node's threads get them. Returns 0 or
// an errno.
int StartThread(std::unique_ptr<Work> work);

// Adds work to a lane. Work of a lane runs in order on one thread; lanes are independent of each
// other. Returns 0, or the errno of starting the lane's thread. After such a failure, each new work
// and each finished lane tries again.
int AddToLane(const std::string& lane, std::unique_ptr<Work> work);
// Tells whether all work of a lane is done.
bool IsLaneIdle(const std::string& lane);

// Runs a task on a thread of its own. The program may exit before the result arrives.
Napi::Promise Elsewhere(Napi::Env env, std::shared_ptr<Task> task);
// Runs a task in a lane. The program waits for the result before it exits.
Napi::Promise InLane(Napi::Env env, const std::string& lane, std::shared_ptr<Task> task);

}  // namespace criu_service
