#include "parameters.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "report.h"

namespace criu_service::launcher {
namespace {

static_assert(sizeof(gid_t) == sizeof(uint32_t) && sizeof(Parameters) % alignof(gid_t) == 0);

// Static, not on the stack, because the caller's RLIMIT_STACK will be ours.
alignas(Parameters) char packet[kMaxParametersSize];
Request request;

void Refuse(bool wrong, size_t offset) {
  if (wrong) Fail(Step::kParameters, EINVAL, static_cast<int64_t>(offset));
}

void CheckFixed(const Parameters& fixed) {
  Refuse(fixed.magic != kMagic, offsetof(Parameters, magic));
  Refuse(fixed.version != kVersion, offsetof(Parameters, version));
  Refuse((fixed.flags & ~kKnownFlags) != 0, offsetof(Parameters, flags));
  Refuse(fixed.pid <= 1, offsetof(Parameters, pid));
  // Uid 0 would regain its capabilities at exec; -1 means "leave as it is" to setresuid(2).
  Refuse(fixed.uid == 0 || fixed.uid == UINT32_MAX, offsetof(Parameters, uid));
  Refuse(fixed.gid == UINT32_MAX, offsetof(Parameters, gid));
  Refuse(fixed.umask > 0777, offsetof(Parameters, umask));
  Refuse(fixed.images_fd < -1, offsetof(Parameters, images_fd));
  Refuse(fixed.work_fd < -1, offsetof(Parameters, work_fd));
  Refuse(fixed.status_fd < -1, offsetof(Parameters, status_fd));
  // The same holds for a child of the caller, see capabilities(7).
  Refuse((fixed.ambient & ~fixed.inheritable) != 0, offsetof(Parameters, ambient));
  Refuse(fixed.inherited_count > kMaxInherited, offsetof(Parameters, inherited_count));
  // In a hand-over CRIU uses the numbers of the request.
  Refuse(fixed.inherited_count != 0 && (fixed.flags & kHandOver) != 0,
         offsetof(Parameters, inherited_count));
  Refuse(fixed.group_count > kMaxGroups, offsetof(Parameters, group_count));
  Refuse(fixed.images_path_size != 0 && fixed.images_fd != -1, offsetof(Parameters, images_fd));
  const bool opens = fixed.images_fd != -1 || fixed.work_fd != -1 || fixed.status_fd != -1 ||
                     fixed.images_path_size != 0;
  Refuse(opens && (fixed.flags & kHandOver) != 0, offsetof(Parameters, flags));
  const bool has_images = fixed.images_fd != -1 || fixed.images_path_size != 0;
  Refuse(!has_images && (fixed.flags & kOwnClocks) != 0, offsetof(Parameters, flags));
}

// Takes bytes from the packet's tail, and refuses to take more than are left.
class Tail {
 public:
  explicit Tail(size_t size) : size_(size) {}

  const char* Take(size_t wanted) {
    Refuse(wanted > size_ - offset_, offset_);
    const char* taken = packet + offset_;
    offset_ += wanted;
    return taken;
  }

  const char* TakeString(size_t wanted, bool is_path) {
    if (wanted == 0) return nullptr;
    Refuse(wanted > kMaxStringSize, offset_);
    const size_t start = offset_;
    const char* text = Take(wanted);
    // One NUL, at the end, so that the kernel reads the same string that we check.
    Refuse(std::memchr(text, '\0', wanted) != text + wanted - 1, start);
    Refuse(is_path && text[0] != '/', start);
    return text;
  }

  void End() const { Refuse(offset_ != size_, offset_); }

 private:
  size_t size_;
  size_t offset_ = sizeof(Parameters);
};

}  // namespace

const Request& ReceiveRequest() {
  // MSG_TRUNC returns the packet's true size, so that a longer packet is not mistaken for its
  // beginning.
  const ssize_t received = ::recv(ControlFd(), packet, sizeof packet, MSG_TRUNC);
  Require(received != -1, Step::kParameters);
  const auto size = static_cast<size_t>(received);
  if (size > sizeof packet) Fail(Step::kParameters, EMSGSIZE, received);
  // 0 is also the end of the connection: the service has gone, and this answer is lost.
  if (size < sizeof(Parameters)) Fail(Step::kParameters, EINVAL, received);

  std::memcpy(&request.fixed, packet, sizeof request.fixed);
  const Parameters& fixed = request.fixed;
  CheckFixed(fixed);

  Tail tail(size);
  request.groups = reinterpret_cast<const gid_t*>(tail.Take(fixed.group_count * sizeof(gid_t)));
  for (size_t index = 0; index < fixed.group_count; ++index) {
    const gid_t group = request.groups[index];
    // Ascending, because the kernel sorts them and the proof compares in order.
    const bool in_order = index == 0 || request.groups[index - 1] <= group;
    Refuse(group == UINT32_MAX || !in_order, sizeof(Parameters) + index * sizeof group);
  }
  request.inherited =
      reinterpret_cast<const int32_t*>(tail.Take(fixed.inherited_count * sizeof(int32_t)));
  for (size_t index = 0; index < fixed.inherited_count; ++index) {
    Refuse(request.inherited[index] < 0, offsetof(Parameters, inherited_count));
  }
  request.criu = tail.TakeString(fixed.criu_size, true);
  request.config = tail.TakeString(fixed.config_size, true);
  request.images_path = tail.TakeString(fixed.images_path_size, false);
  request.label = tail.TakeString(fixed.label_size, false);
  request.label_command = tail.TakeString(fixed.label_command_size, false);
  request.preload = tail.TakeString(fixed.preload_size, true);
  tail.End();
  Refuse(request.criu == nullptr, offsetof(Parameters, criu_size));
  Refuse(request.config == nullptr, offsetof(Parameters, config_size));
  Refuse(request.preload == nullptr, offsetof(Parameters, preload_size));
  // Characters that ld.so(8) takes for the end of a path.
  Refuse(std::strpbrk(request.preload, " :") != nullptr, offsetof(Parameters, preload_size));
  Refuse((request.label == nullptr) != (request.label_command == nullptr),
         offsetof(Parameters, label_size));
  return request;
}

}  // namespace criu_service::launcher
