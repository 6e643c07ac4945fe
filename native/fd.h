// File descriptors with one owner: UniqueFd in C++, OwnedFd in JavaScript.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "napi_headers.h"

namespace criu_service {

// Owns one descriptor and closes it without changing errno, so that a clean-up never hides a
// failure.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int number) : number_(number) {}
  UniqueFd(UniqueFd&& other) noexcept : number_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(other.Release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  int Get() const { return number_; }
  bool IsOpen() const { return number_ >= 0; }
  int Release() { return std::exchange(number_, -1); }
  void Reset(int number = -1) {
    const int old = std::exchange(number_, number);
    if (old < 0) return;
    const int saved = errno;
    // Linux frees the number even if close(2) fails, EINTR included, so the call is not repeated.
    ::close(old);
    errno = saved;
  }

 private:
  int number_ = -1;
};

// Polls a descriptor that an OwnedFd holds. The watcher must stop before the descriptor is closed:
// another file soon gets the number, while libuv would still use its own record of it.
class FdWatcher {
 public:
  virtual void BeforeFdGoes() = 0;

 protected:
  ~FdWatcher() = default;
};

// The descriptor of an OwnedFd. It is a separate object, so that a Process can use its pidfd no
// matter which of the two JavaScript objects is collected first.
struct FdSlot {
  UniqueFd fd;
  FdWatcher* watcher = nullptr;
  // The lane that closes the descriptor. Set if the descriptor's sender could make close(2) block.
  std::optional<uint32_t> lane;

  FdSlot() = default;
  FdSlot(const FdSlot&) = delete;
  FdSlot& operator=(const FdSlot&) = delete;
  ~FdSlot() {
    // The watcher has been destroyed before.
    watcher = nullptr;
    Close();
  }

  // Moves the descriptor out.
  UniqueFd Take() {
    if (FdWatcher* told = std::exchange(watcher, nullptr)) told->BeforeFdGoes();
    return std::move(fd);
  }
  void Close();
};

// The OwnedFd of binding.ts.
class OwnedFd : public Napi::ObjectWrap<OwnedFd> {
 public:
  static Napi::Function Define(Napi::Env env);

  // Makes the JavaScript object. If this throws, `fd` still owns the descriptor.
  static Napi::Object New(Napi::Env env, UniqueFd& fd);
  static Napi::Object New(Napi::Env env, UniqueFd&& fd) { return New(env, fd); }
  // Makes an OwnedFd that is closed on the thread of `lane`, also if this throws.
  static Napi::Object NewInLane(Napi::Env env, UniqueFd fd, uint32_t lane);
  // Makes an array of OwnedFd. If this throws, every descriptor has been closed.
  static Napi::Array NewArray(Napi::Env env, std::vector<UniqueFd> fds);
  // The C++ side of a value, or null if the value is not an OwnedFd.
  static OwnedFd* From(const Napi::Value& value);

  explicit OwnedFd(const Napi::CallbackInfo& info);

  int Get() const { return slot_->fd.Get(); }
  UniqueFd Take() { return slot_->Take(); }
  const std::shared_ptr<FdSlot>& Slot() const { return slot_; }

 private:
  Napi::Value Number(const Napi::CallbackInfo& info);
  void CloseMethod(const Napi::CallbackInfo& info);

  std::shared_ptr<FdSlot> slot_ = std::make_shared<FdSlot>();
};

}  // namespace criu_service
