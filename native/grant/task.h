// A process of the tree, by its directory in /proc, and its state as the kernel tells it there.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "protocol.h"

namespace criu_service::grant {

struct Task {
  pid_t pid;
  int directory;  // /proc/PID, bound to the process like a pidfd.
};

struct Status {
  char state;
  pid_t parent;
  pid_t tracer;
  uint32_t uids[4];
  uint32_t gids[4];
  uint64_t permitted;
  uint32_t seccomp;
  bool has_memory;

  // A process on its way out loses its memory first, and with it what LookAt() asks for.
  bool HasEnded() const { return state == 'Z' || state == 'X' || !has_memory; }
};

// Reads the status of the thread-group leader. Returns false if the process has gone: then its pid
// may be another's.
bool ReadStatus(const Task& task, Status* status);

inline bool IsThere(const Task& task) {
  Status status{};
  return ReadStatus(task, &status);
}

// The reason why this task cannot be asked; kNone if it may be asked. A task that executes
// a setuid program changes at any moment that it is not stopped, so this look counts only while it
// is. `tracer` is the process that may trace it: 0, or ourselves.
Fault LookAt(const Task& task, const Status& status, const Parameters& parameters, pid_t tracer);

inline bool HasEnded(const Task& task) {
  Status status{};
  return !ReadStatus(task, &status) || status.HasEnded();
}

// Opens the directory of a process. Returns -1 if it has gone.
int OpenProcess(pid_t pid);

// The processes of the tree, parents before their children.
class Tree {
 public:
  explicit Tree(const Task& root);

  uint32_t Size() const { return size_; }
  const Task& At(uint32_t index) const { return tasks_[index]; }

  // Reads the tree, and adds processes that are new. Returns how many.
  uint32_t Read();

 private:
  void ReadChildren(const Task& parent);
  void AddIfChild(pid_t pid, const Task& parent);

  uint32_t size_ = 0;
  Task* tasks_;
};

}  // namespace criu_service::grant
