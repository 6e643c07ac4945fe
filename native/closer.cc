// Closes descriptors whose close(2) may block: a connection whose queue holds descriptors of its
// peer's, and a descriptor that came out of such a queue.
//
// The last close of a TCP socket with SO_LINGER waits for as long as its owner likes (socket(7)).
// Each close of a file on FUSE, the last or not, waits for its server (fuse_flush in the kernel's
// fs/fuse/file.c). So these descriptors are closed on threads that may be lost. Each lane has its
// own thread, and descriptors wait only for others of their lane. The kernel limits how many can
// wait: it counts descriptors in queues against the RLIMIT_NOFILE of their sender
// (too_many_unix_fds in its net/core/scm.c).
#include "closer.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "addon.h"
#include "args.h"
#include "elsewhere.h"
#include "error.h"

namespace criu_service {
namespace {

class Closing : public Work {
 public:
  explicit Closing(UniqueFd fd) : fd_(std::move(fd)) {}
  void Run() override { fd_.Reset(); }

 private:
  UniqueFd fd_;
};

void CloseElsewhereCall(const Napi::CallbackInfo& info) {
  const int64_t lane = RequireInteger(info[1], "lane", 0, std::numeric_limits<uint32_t>::max());
  const int failure = CloseElsewhere(static_cast<uint32_t>(lane), RequireFd(info[0], "fd").Take());
  if (failure != 0) throw SystemError(info.Env(), "pthread_create", failure);
}

}  // namespace

int CloseElsewhere(uint32_t lane, UniqueFd fd) {
  return AddToLane("close " + std::to_string(lane), std::make_unique<Closing>(std::move(fd)));
}

void ExportCloser(Napi::Env env, Napi::Object exports) {
  exports.Set("closeElsewhere", Napi::Function::New(env, CloseElsewhereCall, "closeElsewhere"));
}

}  // namespace criu_service
