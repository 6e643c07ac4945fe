#include "elsewhere.h"

#include <pthread.h>
#include <sys/eventfd.h>

#include <csignal>
#include <cstddef>
#include <utility>

#include "addon.h"
#include "error.h"
#include "fd.h"
#include "poll.h"

namespace criu_service {
namespace {

// One thread's frames are small: a page of a buffer, and libc's.
constexpr size_t kStackSize = size_t{256} * 1024;

struct Shared {
  std::shared_ptr<Work> work;
  // Written before `done` becomes readable, read afterwards.
  bool out_of_memory = false;
  UniqueFd done;
};

// Waits on the event loop for one thread, and goes with it.
class Pending : public PollListener {
 public:
  Pending(Napi::Env env, std::shared_ptr<Shared> shared)
      : env_(env),
        shared_(std::move(shared)),
        deferred_(Napi::Promise::Deferred::New(env)),
        poll_(env, Addon::Of(env).loop, shared_->done.Get(), *this) {
    // A thread that is lost must not keep the service from leaving.
    poll_.Unref();
  }
  virtual ~Pending() = default;

  int Start() { return poll_.Start(UV_READABLE); }
  Napi::Promise Promise() const { return deferred_.Promise(); }

  void OnPoll(int status, int) override {
    const std::unique_ptr<Pending> self(this);
    const Napi::Env env = env_;
    // What waits for the promise runs when this scope ends.
    const Napi::AsyncContext context(env, "criu-service:elsewhere");
    const Napi::CallbackScope scope(env, context);
    try {
      if (status != 0) throw SystemError(env, "poll", -status);
      if (shared_->out_of_memory) throw SystemError(env, "malloc", ENOMEM);
      deferred_.Resolve(shared_->work->Result(env));
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

void* RunThread(void* data) {
  const std::unique_ptr<std::shared_ptr<Shared>> held(static_cast<std::shared_ptr<Shared>*>(data));
  Shared& shared = **held;
  // Signals are for threads that are nobody but this service.
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
  try {
    shared.work->Run();
  } catch (...) {
    shared.out_of_memory = true;
  }
  // Never fails: the first has room.
  ::eventfd_write(shared.done.Get(), 1);
  return nullptr;
}

int StartThread(const std::shared_ptr<Shared>& shared) {
  auto held = std::make_unique<std::shared_ptr<Shared>>(shared);
  pthread_attr_t attributes;
  int failure = ::pthread_attr_init(&attributes);
  if (failure != 0) return failure;
  pthread_t thread{};
  failure = ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  if (failure == 0) failure = ::pthread_attr_setstacksize(&attributes, kStackSize);
  if (failure == 0) failure = ::pthread_create(&thread, &attributes, RunThread, held.get());
  // The thread's from here on.
  if (failure == 0) static_cast<void>(held.release());
  ::pthread_attr_destroy(&attributes);
  return failure;
}

}  // namespace

Napi::Promise RunElsewhere(Napi::Env env, std::shared_ptr<Work> work) {
  auto shared = std::make_shared<Shared>();
  shared->work = std::move(work);
  shared->done.Reset(Check(env, "eventfd", ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));

  auto pending = std::make_unique<Pending>(env, shared);
  int failure = pending->Start();
  if (failure != 0) throw SystemError(env, "uv_poll_start", failure);
  failure = StartThread(shared);
  if (failure != 0) throw SystemError(env, "pthread_create", failure);
  // Its own, until the result is there.
  return pending.release()->Promise();
}

}  // namespace criu_service
