#include "task.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "report.h"

namespace criu_service::grant {
namespace {

// A thread may be in 65,536 groups, and may have as many children as its user may run processes.
constexpr size_t kLargestFile = size_t{4} << 20;
char text[kLargestFile + 1];

// Returns false if the process has gone.
bool ReadFile(const Task& task, int directory, const char* name) {
  const int fd = ::openat(directory, name, O_RDONLY | O_CLOEXEC);
  size_t size = 0;
  ssize_t count = fd == -1 ? -1 : 1;
  while (count > 0 && size < kLargestFile) {
    count = ::read(fd, text + size, kLargestFile - size);
    if (count > 0) size += static_cast<size_t>(count);
  }
  const int error = errno;
  if (fd != -1) ::close(fd);
  if (count == -1 && (error == ENOENT || error == ESRCH)) return false;
  if (count != 0) Refuse(Fault::kRead, task.pid, count == -1 ? error : EFBIG);
  text[size] = '\0';
  return true;
}

// The name of the program is the first line, and the kernel escapes a newline in it.
const char* ValueOf(const Task& task, const char* key) {
  const char* line = std::strstr(text, key);
  if (line == nullptr) Refuse(Fault::kRead, task.pid, EBADMSG);
  return line + std::strlen(key);
}

pid_t PidOf(const Task& task, const char* key) {
  return static_cast<pid_t>(std::strtol(ValueOf(task, key), nullptr, 10));
}

void IdsOf(const Task& task, const char* key, uint32_t (&ids)[4]) {
  const char* text_of_ids = ValueOf(task, key);
  for (uint32_t& id : ids) {
    char* end = nullptr;
    id = static_cast<uint32_t>(std::strtoul(text_of_ids, &end, 10));
    if (end == text_of_ids) Refuse(Fault::kRead, task.pid, EBADMSG);
    text_of_ids = end;
  }
}

bool AreAll(const uint32_t (&ids)[4], uint32_t own) {
  return ids[0] == own && ids[1] == own && ids[2] == own && ids[3] == own;
}

bool IsInOurNamespace(const Task& task, const char* name) {
  struct stat own {};
  struct stat theirs {};
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/%s", name);
  return ::stat(path, &own) == 0 && ::fstatat(task.directory, name, &theirs, 0) == 0 &&
         own.st_ino == theirs.st_ino && own.st_dev == theirs.st_dev;
}

// The kernel gives the files of a process that is not dumpable to root (task_dump_owner in its
// fs/proc/base.c).
bool IsDumpable(const Task& task, uint32_t uid) {
  struct stat file {};
  return ::fstatat(task.directory, "status", &file, 0) == 0 && file.st_uid == uid;
}

}  // namespace

bool ReadStatus(const Task& task, Status* status) {
  if (!ReadFile(task, task.directory, "status")) return false;
  status->state = *ValueOf(task, "\nState:\t");
  status->parent = PidOf(task, "\nPPid:\t");
  status->tracer = PidOf(task, "\nTracerPid:\t");
  IdsOf(task, "\nUid:\t", status->uids);
  IdsOf(task, "\nGid:\t", status->gids);
  status->permitted = std::strtoull(ValueOf(task, "\nCapPrm:\t"), nullptr, 16);
  // A kernel without CONFIG_SECCOMP has no such line, and no filters.
  const bool has_seccomp = std::strstr(text, "\nSeccomp:\t") != nullptr;
  status->has_memory = std::strstr(text, "\nVmPeak:\t") != nullptr;
  status->seccomp = has_seccomp ? static_cast<uint32_t>(PidOf(task, "\nSeccomp:\t")) : 0;
  return true;
}

Fault LookAt(const Task& task, const Status& status, const Parameters& parameters, pid_t tracer) {
  if (!AreAll(status.uids, parameters.uid) || !AreAll(status.gids, parameters.gid)) {
    return Fault::kForeign;
  }
  if (!IsDumpable(task, parameters.uid)) return Fault::kNotDumpable;
  // Before its capabilities, which may be good for nothing outside of it.
  if (!IsInOurNamespace(task, "ns/user") || !IsInOurNamespace(task, "ns/pid")) {
    return Fault::kNamespace;
  }
  if ((status.permitted & ~parameters.permitted) != 0) return Fault::kCapable;
  if (status.tracer != tracer) return Fault::kTraced;
  return status.seccomp == 0 ? Fault::kNone : Fault::kSeccomp;
}

int OpenProcess(pid_t pid) {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%d", pid);
  return ::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

Tree::Tree(const Task& root) {
  static Task tasks[kMostTasks];
  tasks_ = tasks;
  tasks_[size_++] = root;
}

uint32_t Tree::Read() {
  const uint32_t before = size_;
  for (uint32_t index = 0; index < size_; ++index) ReadChildren(tasks_[index]);
  return size_ - before;
}

// Each thread has children of its own.
void Tree::ReadChildren(const Task& parent) {
  StartDeadline(parent.pid);
  const int list = ::openat(parent.directory, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (list == -1) return;  // It has gone.
  DIR* threads = ::fdopendir(list);
  if (threads == nullptr) Refuse(Fault::kRead, parent.pid, errno);
  while (const dirent* entry = ::readdir(threads)) {
    if (entry->d_name[0] == '.') continue;
    char name[sizeof entry->d_name + sizeof "/children"];
    std::snprintf(name, sizeof name, "%s/children", entry->d_name);
    if (!ReadFile(parent, list, name)) continue;
    // A copy, because AddIfChild() reads into the same memory.
    char* const numbers = ::strdup(text);
    if (numbers == nullptr) Refuse(Fault::kSelf, 0, ENOMEM);
    char* rest = numbers;
    for (long pid = std::strtol(rest, &rest, 10); pid > 0; pid = std::strtol(rest, &rest, 10)) {
      AddIfChild(static_cast<pid_t>(pid), parent);
    }
    std::free(numbers);
  }
  ::closedir(threads);
}

void Tree::AddIfChild(pid_t pid, const Task& parent) {
  for (uint32_t index = 0; index < size_; ++index) {
    // While that process is there, its pid is of no other.
    if (tasks_[index].pid == pid && IsThere(tasks_[index])) return;
  }
  const Task child{pid, OpenProcess(pid)};
  Status status{};
  // The parent is there after its child has named it, so that pid was the parent's.
  const bool is_child = child.directory != -1 && ReadStatus(child, &status) &&
                        status.parent == parent.pid && IsThere(parent);
  if (!is_child) {
    if (child.directory != -1) ::close(child.directory);
    return;
  }
  if (size_ == kMostTasks) Refuse(Fault::kTooMany, pid);
  tasks_[size_++] = child;
}

}  // namespace criu_service::grant
