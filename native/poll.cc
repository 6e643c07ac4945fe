#include "poll.h"

#include <utility>
#include <vector>

#include "error.h"

namespace criu_service {

struct EventLoop::Handle {
  uv_poll_t poll{};
  // Null after Close().
  Poll* owner = nullptr;
  // Keeps the loop's records until the close callback, even if the environment's data goes earlier.
  std::shared_ptr<EventLoop> loop;
};

std::shared_ptr<EventLoop> EventLoop::Of(Napi::Env env) {
  auto loop = std::make_shared<EventLoop>();
  if (napi_get_uv_event_loop(env, &loop->loop_) != napi_ok) {
    throw Napi::Error::New(env, "this environment has no libuv event loop");
  }
  // The hook owns a reference of its own, because it may outlive the addon's instance data.
  auto* held = new std::shared_ptr<EventLoop>(loop);
  if (napi_add_async_cleanup_hook(env, CleanUp, held, nullptr) != napi_ok) {
    delete held;
    throw Napi::Error::New(env, "cannot register an environment clean-up hook");
  }
  return loop;
}

void EventLoop::CleanUp(napi_async_cleanup_hook_handle hook, void* data) {
  const std::unique_ptr<std::shared_ptr<EventLoop>> held(
      static_cast<std::shared_ptr<EventLoop>*>(data));
  EventLoop& loop = **held;
  loop.hook_ = hook;
  const std::set<Handle*> open = std::exchange(loop.open_, {});
  for (Handle* handle : open) {
    handle->owner->handle_ = nullptr;
    loop.Close(handle);
  }
  loop.FinishCleanUp();
}

void EventLoop::Close(Handle* handle) {
  open_.erase(handle);
  handle->owner = nullptr;
  ++closing_;
  uv_close(reinterpret_cast<uv_handle_t*>(&handle->poll), [](uv_handle_t* closed) {
    const std::unique_ptr<Handle> done(static_cast<Handle*>(closed->data));
    --done->loop->closing_;
    done->loop->FinishCleanUp();
  });
}

void EventLoop::FinishCleanUp() {
  if (closing_ == 0 && hook_ != nullptr) {
    napi_remove_async_cleanup_hook(std::exchange(hook_, nullptr));
  }
}

Poll::Poll(Napi::Env env, const std::shared_ptr<EventLoop>& loop, int fd, PollListener& listener)
    : env_(env), loop_(loop), listener_(listener) {
  auto handle = std::make_unique<EventLoop::Handle>();
  handle->poll.data = handle.get();
  handle->owner = this;
  handle->loop = loop;
  loop->open_.insert(handle.get());
  const int failure = uv_poll_init(loop->loop_, &handle->poll, fd);
  if (failure != 0) {
    // A handle whose init failed was never on the loop, and must not be closed.
    loop->open_.erase(handle.get());
    throw SystemError(env, "uv_poll_init", -failure);
  }
  handle_ = handle.release();
}

Poll::~Poll() {
  if (handle_ != nullptr) loop_->Close(handle_);
}

int Poll::Start(int events) {
  // Without a handle the environment is ending, and no callback will ever run.
  if (handle_ == nullptr) return 0;
  return -uv_poll_start(&handle_->poll, events, OnEvent);
}

void Poll::OnEvent(uv_poll_t* poll, int status, int events) {
  const Poll* owner = static_cast<EventLoop::Handle*>(poll->data)->owner;
  const Napi::Env env(owner->env_);
  const Napi::HandleScope scope(env);
  try {
    owner->listener_.OnPoll(status, events);
  } catch (const Napi::Error& error) {
    // An ending environment (worker.terminate()) refuses to make objects. libuv is C, so exceptions
    // must not pass through it.
    ThrowFromLoop(env, error);
  }
}

void Poll::Stop() {
  if (handle_ != nullptr) uv_poll_stop(&handle_->poll);
}

void Poll::Unref() {
  if (handle_ != nullptr) uv_unref(reinterpret_cast<uv_handle_t*>(&handle_->poll));
}

void CallFromLoop(Napi::Env env, const Napi::Object& self, const Napi::Function& function,
                  const std::vector<napi_value>& arguments) {
  // Use the C function, not its C++ wrapper. If a worker is being terminated, the C function fails
  // without an exception to throw.
  const napi_status status =
      napi_make_callback(env, nullptr, self, function, arguments.size(), arguments.data(), nullptr);
  if (status != napi_pending_exception) return;
  napi_value exception = nullptr;
  if (napi_get_and_clear_last_exception(env, &exception) == napi_ok && exception != nullptr) {
    napi_fatal_exception(env, exception);
  }
}

void ThrowFromLoop(Napi::Env env, const Napi::Error& error) {
  napi_fatal_exception(env, error.Value());
}

}  // namespace criu_service
