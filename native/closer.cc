// Closing what may block: a connection whose queue holds descriptors of its peer's, and a
// descriptor that came out of one.
//
// The last close of a TCP socket with SO_LINGER waits for as long as its owner likes (socket(7)),
// and each close of a file on FUSE, the last or not, for its server (fuse_flush in the kernel's
// fs/fuse/file.c). So they are closed on a thread that may be lost: one for each lane, whose
// descriptors wait for each other and for nobody else's. How many can wait is the kernel's to
// limit: it counts descriptors in queues against the RLIMIT_NOFILE of their sender
// (too_many_unix_fds in its net/core/scm.c).
#include "closer.h"

#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "addon.h"
#include "args.h"
#include "error.h"

namespace criu_service {
namespace {

class Lanes {
 public:
  // A thread that was lost may come back at any time, and must find this.
  static Lanes& Get() {
    static Lanes& lanes = *new Lanes;
    return lanes;
  }

  // 0, or why there is no thread for it; then it waits for the next one of its lane.
  int Add(int64_t lane, UniqueFd fd) {
    const std::lock_guard lock(mutex_);
    Lane& its = lanes_[lane];
    its.waiting.push_back(std::move(fd));
    ++pending_;
    if (its.has_thread) return 0;
    try {
      std::thread([this, lane] { Drain(lane); }).detach();
    } catch (const std::system_error& error) {
      return error.code().value();
    }
    its.has_thread = true;
    return 0;
  }

  int Pending() {
    const std::lock_guard lock(mutex_);
    return pending_;
  }

 private:
  struct Lane {
    std::deque<UniqueFd> waiting;
    bool has_thread = false;
  };

  void Drain(int64_t lane) {
    for (;;) {
      UniqueFd fd = Next(lane);
      if (!fd.IsOpen()) return;
      fd.Reset();
      const std::lock_guard lock(mutex_);
      --pending_;
    }
  }

  // Nothing when the lane is empty, and gone.
  UniqueFd Next(int64_t lane) {
    const std::lock_guard lock(mutex_);
    const auto its = lanes_.find(lane);
    if (its->second.waiting.empty()) {
      lanes_.erase(its);
      return {};
    }
    UniqueFd fd = std::move(its->second.waiting.front());
    its->second.waiting.pop_front();
    return fd;
  }

  std::mutex mutex_;
  std::map<int64_t, Lane> lanes_;
  int pending_ = 0;
};

void CloseElsewhereCall(const Napi::CallbackInfo& info) {
  const int64_t lane = RequireInteger(info[1], "lane", 0, std::numeric_limits<uint32_t>::max());
  const int failure = CloseElsewhere(static_cast<uint32_t>(lane), RequireFd(info[0], "fd").Take());
  if (failure != 0) throw SystemError(info.Env(), "pthread_create", failure);
}

Napi::Value PendingCloses(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), Lanes::Get().Pending());
}

}  // namespace

int CloseElsewhere(uint32_t lane, UniqueFd fd) { return Lanes::Get().Add(lane, std::move(fd)); }

void ExportCloser(Napi::Env env, Napi::Object exports) {
  exports.Set("closeElsewhere", Napi::Function::New(env, CloseElsewhereCall, "closeElsewhere"));
  exports.Set("pendingCloses", Napi::Function::New(env, PendingCloses, "pendingCloses"));
}

}  // namespace criu_service
