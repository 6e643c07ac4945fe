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

// Owns one descriptor and closes it, without touching errno: a clean-up never hides what failed.
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
    // Linux frees the number even when close(2) fails, EINTR included: there is nothing to repeat.
    ::close(old);
    errno = saved;
  }

 private:
  int number_ = -1;
};

// Somebody who polls a descriptor that an OwnedFd holds, and must stop before it goes away: a
// closed number is soon another file's, while libuv would still think that it knows it.
class FdWatcher {
 public:
  virtual void BeforeFdGoes() = 0;

 protected:
  ~FdWatcher() = default;
};

// The descriptor of an OwnedFd. Apart from it, so that a Process can look at its pidfd in whatever
// order the two are collected.
struct FdSlot {
  UniqueFd fd;
  FdWatcher* watcher = nullptr;
  // Where it is closed, by whomever: on the thread of this lane, for a descriptor that came from
  // somebody who can have its closing block.
  std::optional<uint32_t> lane;

  FdSlot() = default;
  FdSlot(const FdSlot&) = delete;
  FdSlot& operator=(const FdSlot&) = delete;
  ~FdSlot() {
    // Whoever polled it has gone before.
    watcher = nullptr;
    Close();
  }

  // Gives the descriptor away.
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

  // Makes the JavaScript object. When that throws, `fd` still owns the descriptor.
  static Napi::Object New(Napi::Env env, UniqueFd& fd);
  static Napi::Object New(Napi::Env env, UniqueFd&& fd) { return New(env, fd); }
  // The same for one that is closed on the thread of `lane`, also when this throws.
  static Napi::Object NewInLane(Napi::Env env, UniqueFd fd, uint32_t lane);
  // Makes an array of OwnedFd. When that throws, every descriptor has been closed.
  static Napi::Array NewArray(Napi::Env env, std::vector<UniqueFd> fds);
  // The C++ side of a value, or null when it is no OwnedFd.
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
