#include "elsewhere.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <atomic>
#include <cerrno>
#include <deque>
#include <map>
#include <mutex>
#include <new>
#include <utility>

#include "addon.h"
#include "error.h"
#include "poll.h"

namespace criu_service {
namespace {

// A thread's frames are small: a page or two of buffers, libc's, and those of sd-bus, which keeps
// short messages on the stack.
constexpr size_t kStackSize = size_t{512} * 1024;

void* RunWork(void* data) {
  const std::unique_ptr<Work> work(static_cast<Work*>(data));
  work->Run();
  return nullptr;
}

class Lanes {
 public:
  // Leaked, because a lost thread may come back at any time and still needs this object.
  static Lanes& Get() {
    static Lanes& lanes = *new Lanes;
    return lanes;
  }

  int Add(const std::string& name, std::unique_ptr<Work> work) {
    const std::lock_guard lock(mutex_);
    lanes_[name].waiting.push_back(std::move(work));
    return StartMissing();
  }

  bool IsIdle(const std::string& name) {
    const std::lock_guard lock(mutex_);
    return lanes_.find(name) == lanes_.end();
  }

 private:
  struct Lane {
    std::deque<std::unique_ptr<Work>> waiting;
    bool has_thread = false;
  };

  class Drainer : public Work {
   public:
    Drainer(Lanes& lanes, std::string name) : lanes_(lanes), name_(std::move(name)) {}
    void Run() override {
      while (std::unique_ptr<Work> work = lanes_.Next(name_)) {
        try {
          work->Run();
        } catch (const std::bad_alloc&) {
          // The failed work is dropped. The next work may need less memory.
        }
      }
    }

   private:
    Lanes& lanes_;
    std::string name_;
  };

  // Starts a thread for each lane that lacks one, also after earlier failures. Returns 0, or the
  // errno of the lane that still lacks its thread.
  int StartMissing() {
    for (auto& [name, lane] : lanes_) {
      if (lane.has_thread) continue;
      const int failure = StartThread(std::make_unique<Drainer>(*this, name));
      if (failure != 0) return failure;
      lane.has_thread = true;
    }
    return 0;
  }

  // Takes the next work of a lane. If the lane is empty, removes the lane and returns null.
  std::unique_ptr<Work> Next(const std::string& name) {
    const std::lock_guard lock(mutex_);
    const auto lane = lanes_.find(name);
    if (lane->second.waiting.empty()) {
      lanes_.erase(lane);
      static_cast<void>(StartMissing());
      return nullptr;
    }
    std::unique_ptr<Work> work = std::move(lane->second.waiting.front());
    lane->second.waiting.pop_front();
    return work;
  }

  std::mutex mutex_;
  std::map<std::string, Lane> lanes_;
};

// A task, and the descriptor that becomes readable when the task is done.
struct Shared {
  std::shared_ptr<Task> task;
  UniqueFd done;
  // Written before `done` becomes readable, and read afterwards.
  int failure = 0;
};

class TaskWork : public Work {
 public:
  explicit TaskWork(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  void Run() override {
    try {
      shared_->task->Run();
    } catch (const std::bad_alloc&) {
      shared_->failure = ENOMEM;
    }
    // Never fails: the counter has room for the first write.
    ::eventfd_write(shared_->done.Get(), 1);
  }

 private:
  std::shared_ptr<Shared> shared_;
};

// Waits on the event loop for one task. Deletes itself when the task is done.
class Pending : public PollListener {
 public:
  Pending(Napi::Env env, std::shared_ptr<Shared> shared)
      : env_(env),
        shared_(std::move(shared)),
        deferred_(Napi::Promise::Deferred::New(env)),
        poll_(env, Addon::Of(env).loop, shared_->done.Get(), *this) {}
  virtual ~Pending() = default;

  int Start() { return poll_.Start(UV_READABLE); }
  // A lost thread must not keep the service from exiting.
  void LetGo() { poll_.Unref(); }
  Napi::Promise Promise() const { return deferred_.Promise(); }

  void OnPoll(int status, int) override {
    const std::unique_ptr<Pending> self(this);
    const Napi::Env env = env_;
    // Callbacks of the promise run when this scope ends.
    const Napi::AsyncContext context(env, "criu-service:elsewhere");
    const Napi::CallbackScope scope(env, context);
    const int failure = status != 0 ? -status : shared_->failure;
    if (failure != 0) {
      deferred_.Reject(SystemError(env, status != 0 ? "poll" : "malloc", failure).Value());
      return;
    }
    try {
      deferred_.Resolve(shared_->task->Result(env));
    } catch (const Napi::Error& error) {
      deferred_.Reject(error.Value());
    }
  }

 private:
  napi_env env_;
  std::shared_ptr<Shared> shared_;
  Napi::Promise::Deferred deferred_;
  Poll poll_;
};

std::unique_ptr<Pending> Wait(Napi::Env env, const std::shared_ptr<Shared>& shared,
                              std::shared_ptr<Task> task) {
  shared->task = std::move(task);
  shared->done.Reset(Check(env, "eventfd", ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
  auto pending = std::make_unique<Pending>(env, shared);
  const int failure = pending->Start();
  if (failure != 0) throw SystemError(env, "uv_poll_start", failure);
  return pending;
}

}  // namespace

int StartThread(std::unique_ptr<Work> work) {
  pthread_attr_t attributes;
  int failure = ::pthread_attr_init(&attributes);
  if (failure != 0) return failure;
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread{};
  failure = ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  if (failure == 0) failure = ::pthread_attr_setstacksize(&attributes, kStackSize);
  if (failure == 0) failure = ::pthread_create(&thread, &attributes, RunWork, work.get());
  // From here on the thread owns the work.
  if (failure == 0) static_cast<void>(work.release());
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::pthread_attr_destroy(&attributes);
  return failure;
}

int AddToLane(const std::string& lane, std::unique_ptr<Work> work) {
  return Lanes::Get().Add(lane, std::move(work));
}

bool IsLaneIdle(const std::string& lane) { return Lanes::Get().IsIdle(lane); }

Napi::Promise Elsewhere(Napi::Env env, std::shared_ptr<Task> task) {
  auto shared = std::make_shared<Shared>();
  auto pending = Wait(env, shared, std::move(task));
  pending->LetGo();
  const int failure = StartThread(std::make_unique<TaskWork>(shared));
  if (failure != 0) throw SystemError(env, "pthread_create", failure);
  // The object owns itself until the result arrives.
  return pending.release()->Promise();
}

Napi::Promise InLane(Napi::Env env, const std::string& lane, std::shared_ptr<Task> task) {
  auto shared = std::make_shared<Shared>();
  auto pending = Wait(env, shared, std::move(task));
  // If no thread can be started, the work waits for the next attempt.
  static_cast<void>(AddToLane(lane, std::make_unique<TaskWork>(shared)));
  return pending.release()->Promise();
}

}  // namespace criu_service
