// The restartable sequences (rseq(2)) of a tree that is being restored.
//
// CRIU's restorer registers the area of a thread while CAP_CHECKPOINT_RESTORE is in effect. After
// each interruption the kernel reads in the area to which address it should lead the thread. So a
// writer of the area can run code of its own with the capability. If the area lies in shared memory
// or in a file, another process can write it.
//
// This class records the areas and mappings that CRIU has read from the images, and tells whether
// each area of a process lies in memory of that process alone. In images of ordinary programs that
// holds, because an area is a part of thread-local storage.
#pragma once

#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace criu_service::engine_preload {

// libprotobuf-c's descriptions of messages, with a layout that has been the same since version 1.0.
struct FieldDescription {
  const char* name;
  uint32_t id;
  int label;
  int type;
  unsigned quantifier_offset;
  unsigned offset;
  const void* descriptor;
  const void* default_value;
  uint32_t flags;
  unsigned reserved_flags;
  const void* reserved[2];
};

struct MessageDescription {
  uint32_t magic;
  const char* name;
  const char* short_name;
  const char* c_name;
  const char* package_name;
  size_t size;
  unsigned field_count;
  const FieldDescription* fields;
};

// An unpacked message, read by the same description that CRIU uses.
class Message {
 public:
  Message(const void* descriptor, const void* bytes)
      : description_(static_cast<const MessageDescription*>(descriptor)),
        bytes_(static_cast<const unsigned char*>(bytes)) {}

  bool Is(const char* name) const {
    return bytes_ != nullptr && std::strcmp(description_->name, name) == 0;
  }

  // @return false if this CRIU has no such field.
  template <typename Value>
  bool Get(const char* name, Value* value) const {
    const FieldDescription* field = Find(name);
    if (field == nullptr) return false;
    std::memcpy(value, bytes_ + field->offset, sizeof *value);
    return true;
  }

  Message Child(const char* name) const {
    const FieldDescription* field = bytes_ == nullptr ? nullptr : Find(name);
    const void* child = nullptr;
    if (field == nullptr || !Get(name, &child)) return {nullptr, nullptr};
    return {field->descriptor, child};
  }

  // The number of entries of a list. Entry() gives an entry.
  size_t Count(const char* name) const {
    const FieldDescription* field = Find(name);
    size_t count = 0;
    if (field != nullptr) std::memcpy(&count, bytes_ + field->quantifier_offset, sizeof count);
    return count;
  }

  Message Entry(const char* name, size_t index) const {
    const FieldDescription* field = Find(name);
    const void* const* entries = nullptr;
    if (!Get(name, &entries) || entries == nullptr) return {nullptr, nullptr};
    return {field->descriptor, entries[index]};
  }

  explicit operator bool() const { return bytes_ != nullptr; }

 private:
  const FieldDescription* Find(const char* name) const {
    for (unsigned index = 0; index < description_->field_count; ++index) {
      const FieldDescription& field = description_->fields[index];
      if (std::strcmp(field.name, name) == 0) return &field;
    }
    return nullptr;
  }

  const MessageDescription* description_;
  const unsigned char* bytes_;
};

// Registers an area that points to a description which no kernel accepts. A kernel that does not
// clear the pointer reads the description, and kills the process.
inline int TryArea(void* /*unused*/) {
  struct alignas(32) Area {
    uint32_t processors[2];
    uint64_t sequence;
    uint32_t rest[4];
  };
  static const uint32_t unknown_version[8] = {UINT32_MAX};
  static Area area{};
  const auto sequence = reinterpret_cast<uintptr_t>(unknown_version);
  area.sequence = sequence;
  ::syscall(SYS_rseq, &area, sizeof area, 0, 0);
#ifdef TEST_UNCLEARED
  area.sequence = sequence;
  ::usleep(1000);
#endif
  ::syscall(SYS_exit, 0);
  return 0;
}

// True if the kernel clears the pointer in an area at registration: since 6.15, 6.14.9 and 6.12.31
// (CVE-2025-38067). An older kernel follows the pointer that lies in an image's memory. `clone` is
// libc's own.
template <typename Clone>
bool KernelClearsAreas(Clone clone) {
  alignas(16) static char stack[8192];
  // Because the child shares the memory, the kernel gives it no area of its parent's. It sends no
  // signal at its end, so CRIU does not notice the child.
  const pid_t child = clone(TryArea, stack + sizeof stack, CLONE_VM | CLONE_VFORK, nullptr);
  int status = 0;
  return child > 0 && ::waitpid(child, &status, __WALL) == child && WIFEXITED(status);
}

struct Range {
  uint64_t start;
  uint64_t end;
};

// A range of a process or thread. Each new process has a copy of the lists.
struct Noted {
  int id;
  Range range;
  Noted* next;
};

constexpr bool IsWithin(Range inner, Range outer) {
  return outer.start <= inner.start && inner.start <= inner.end && inner.end <= outer.end;
}

constexpr bool Touches(Range one, Range other) {
  return one.start < other.end && other.start < one.end;
}

class Sequences {
 public:
  void SetKernelClears(bool clears) { kernel_clears_ = clears; }

  // CRIU opens an image: the following entries belong to this process or thread.
  void Open(const char* name) {
    if (name == nullptr) return;
    static constexpr const char* kKinds[] = {"core-%d.img%n", "mm-%d.img%n", "vmas-%d.img%n"};
    const size_t length = std::strlen(name);
    for (const char* kind : kKinds) {
      int id = 0;
      int end = 0;
      if (std::sscanf(name, kind, &id, &end) != 1 || static_cast<size_t>(end) != length) continue;
      read_ = id;
      return;
    }
  }

  // @return false if memory is exhausted.
  bool Read(const void* descriptor, const void* bytes) {
    const Message message(descriptor, bytes);
    if (message.Is("core_entry")) return ReadCore(message);
    if (message.Is("vma_entry")) return ReadMapping(message);
    if (!message.Is("mm_entry")) return true;
    for (size_t index = 0; index < message.Count("vmas"); ++index) {
      if (!ReadMapping(message.Entry("vmas", index))) return false;
    }
    return true;
  }

  // In a new process: forgets the areas of other threads.
  void KeepOnly(int id) {
    Forget([id](const Noted& area) { return area.id != id; });
  }

  // In the parent of a new process: forgets the areas of that child.
  void Leave(int id) {
    Forget([id](const Noted& area) { return area.id == id; });
  }

  // True if each area lies in memory that only this process can write. CRIU may map a range over
  // another range, so an area must also lie outside of every other mapping.
  bool ArePrivate(int process) const {
    if (!kernel_clears_ && areas_ != nullptr) return false;
    for (const Noted* area = areas_; area != nullptr; area = area->next) {
      const Range range = area->range;
      const bool is_own =
          Has(private_, process, [range](Range other) { return IsWithin(range, other); });
      const bool is_shared =
          Has(other_, process, [range](Range other) { return Touches(range, other); });
      if (!is_own || is_shared) return false;
    }
    return true;
  }

 private:
  // include/image.h of CRIU: REGULAR, STACK, HEAP, ANON_PRIVATE.
  static constexpr uint32_t kRegular = 1 << 0;
  static constexpr uint32_t kAnonymousPrivate = 1 << 9;
  static constexpr uint32_t kOrdinary = kRegular | 1 << 1 | 1 << 5 | kAnonymousPrivate;

  static bool Add(Noted** list, int id, Range range) {
    auto* noted = static_cast<Noted*>(std::malloc(sizeof(Noted)));
    if (noted == nullptr) return false;
    *noted = {id, range, *list};
    *list = noted;
    return true;
  }

  bool ReadCore(const Message& core) {
    const Message sequence = core.Child("thread_core").Child("rseq_entry");
    uint64_t start = 0;
    uint32_t size = 0;
    if (!sequence || !sequence.Get("rseq_abi_pointer", &start) || start == 0) return true;
    sequence.Get("rseq_abi_size", &size);
    return Add(&areas_, read_, {start, start + size});
  }

  bool ReadMapping(const Message& mapping) {
    if (!mapping) return true;
    Range range{};
    uint32_t flags = 0;
    uint32_t status = 0;
    mapping.Get("start", &range.start);
    mapping.Get("end", &range.end);
    mapping.Get("flags", &flags);
    mapping.Get("status", &status);
    const bool is_private = (status & kRegular) != 0 && (status & kAnonymousPrivate) != 0 &&
                            (status & ~kOrdinary) == 0 && (flags & MAP_ANONYMOUS) != 0 &&
                            (flags & MAP_TYPE) == MAP_PRIVATE;
    return Add(is_private ? &private_ : &other_, read_, range);
  }

  template <typename Holds>
  static bool Has(const Noted* list, int process, Holds holds) {
    for (; list != nullptr; list = list->next) {
      if (list->id == process && holds(list->range)) return true;
    }
    return false;
  }

  template <typename Goes>
  void Forget(Goes goes) {
    for (Noted** link = &areas_; *link != nullptr;) {
      Noted* noted = *link;
      if (!goes(*noted)) {
        link = &noted->next;
        continue;
      }
      *link = noted->next;
      std::free(noted);
    }
  }

  bool kernel_clears_ = false;
  int read_ = -1;
  Noted* areas_ = nullptr;
  Noted* private_ = nullptr;
  Noted* other_ = nullptr;
};

}  // namespace criu_service::engine_preload
