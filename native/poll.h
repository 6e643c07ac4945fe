// One descriptor on the event loop: a uv_poll handle with its owner and lifetime.
#pragma once

#include <uv.h>

#include <cstddef>
#include <memory>
#include <set>
#include <vector>

#include "napi_headers.h"

namespace criu_service {

class Poll;

// The loop of one environment, and our handles on it.
//
// uv_close() is asynchronous: libuv uses the handle until its close callback has run. So a handle
// lives apart from its Poll, and an ending environment (a worker, process.exit()) waits until the
// last handle is closed, by an asynchronous clean-up hook of Node-API.
class EventLoop : public std::enable_shared_from_this<EventLoop> {
 public:
  // Also registers the clean-up. Called once for each environment.
  static std::shared_ptr<EventLoop> Of(Napi::Env env);

 private:
  friend class Poll;
  struct Handle;

  static void CleanUp(napi_async_cleanup_hook_handle hook, void* data);
  void Close(Handle* handle);
  void FinishCleanUp();

  uv_loop_t* loop_ = nullptr;
  std::set<Handle*> open_;
  size_t closing_ = 0;
  // Set while the environment waits for the last handle.
  napi_async_cleanup_hook_handle hook_ = nullptr;
};

class PollListener {
 public:
  // `status` is 0, or a negative errno after which libuv has stopped polling. `events` are bits of
  // UV_READABLE and so on. Runs in a handle scope; the Poll may be destroyed from here.
  virtual void OnPoll(int status, int events) = 0;

 protected:
  ~PollListener() = default;
};

// Polls one descriptor, which must stay open during the Poll's lifetime. A descriptor can have at
// most one Poll: libuv keeps its watchers by number and refuses a second with EEXIST.
class Poll {
 public:
  // Throws a NativeError. uv_poll_init() sets O_NONBLOCK on the open file.
  Poll(Napi::Env env, const std::shared_ptr<EventLoop>& loop, int fd, PollListener& listener);
  Poll(const Poll&) = delete;
  Poll& operator=(const Poll&) = delete;
  // Takes the descriptor off the epoll set at once: uv_close() calls uv__poll_stop(), which calls
  // epoll_ctl(EPOLL_CTL_DEL). The descriptor may be closed or moved right afterwards.
  ~Poll();

  // Returns 0 or an errno. Replaces the events of an earlier call.
  int Start(int events);
  void Stop();
  // Lets the event loop end in spite of this Poll.
  void Unref();

 private:
  friend class EventLoop;

  static void OnEvent(uv_poll_t* poll, int status, int events);

  napi_env env_;
  std::shared_ptr<EventLoop> loop_;
  PollListener& listener_;
  // Null after the environment's clean-up.
  EventLoop::Handle* handle_ = nullptr;
};

// Calls JavaScript from the event loop, as MakeCallback does: microtasks and process.nextTick run
// afterwards, and an exception becomes an uncaught exception.
void CallFromLoop(Napi::Env env, const Napi::Object& self, const Napi::Function& function,
                  const std::vector<napi_value>& arguments);
// Ends in process.on('uncaughtException'), for an error that no JavaScript frame can catch.
void ThrowFromLoop(Napi::Env env, const Napi::Error& error);

}  // namespace criu_service
