#include "files.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>

#include "report.h"

namespace criu_service::launcher {
namespace {

int OpenRootsFile(const char* path, Step step) {
  // The checks are made on the descriptor, which is later read or executed, so a file that replaces
  // the path afterwards has no effect. O_NONBLOCK: a FIFO would wait for a writer.
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  Require(fd != -1, step, kFileCannotBeRead);
  struct stat file {};
  Require(::fstat(fd, &file) == 0, step, kFileCannotBeRead);
  if (!S_ISREG(file.st_mode)) Fail(step, 0, kFileNotRegular);
  if (file.st_uid != 0) Fail(step, 0, kFileNotRoots);
  // With an access control list the group's bits are its mask, so the check covers the list, too
  // (acl(5)).
  if ((file.st_mode & (S_IWGRP | S_IWOTH)) != 0) Fail(step, 0, kFileWritableByOthers);
  if ((file.st_mode & (S_ISUID | S_ISGID)) != 0) Fail(step, 0, kFileSetId);
  return fd;
}

int OpenCallersFd(int number, int flags, Step step) {
  char name[sizeof "fd/" + 10];
  std::snprintf(name, sizeof name, "fd/%d", number);
  const int fd = ::openat(kCallerProcFd, name, flags | O_CLOEXEC);
  Require(fd != -1, step, number);
  return fd;
}

// dup2(2) without O_CLOEXEC: the engine keeps it.
int Place(int fd, int* next) {
  if (fd == -1) return -1;
  Require(::dup2(fd, *next) != -1, Step::kDescriptors, *next);
  return (*next)++;
}

}  // namespace

int OpenCriu(const char* path) {
  const int fd = OpenRootsFile(path, Step::kCriu);
  if (::fgetxattr(fd, "security.capability", nullptr, 0) != -1) {
    Fail(Step::kCriu, 0, kFileHasCapabilities);
  }
  // ENODATA: no capabilities. EOPNOTSUPP: the file system does not support them.
  Require(errno == ENODATA || errno == EOPNOTSUPP, Step::kCriu, kFileCannotBeRead);
  return fd;
}

void CheckConfig(const char* path) { ::close(OpenRootsFile(path, Step::kConfig)); }

void CheckPreload(const char* path) { ::close(OpenRootsFile(path, Step::kPreload)); }

void RequireReadable(const char* path, Step step) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  Require(fd != -1, step, kFileCannotBeRead);
  ::close(fd);
}

EngineFiles OpenCallersFiles(const Request& request) {
  // Opening /proc/PID/fd/N opens the file itself anew, with checks against the launcher, which is
  // the caller by now. The kernel checks that we may look into that process (the read mode of
  // ptrace(2): refused if the process has another uid or is non-dumpable by now), and the file's
  // own permissions, as if it were opened by name. So a directory that the caller could not open,
  // but holds with O_PATH or has received from another process, is refused here. For the same
  // reason the images are opened with O_RDONLY, as CRIU will open them once more through
  // /proc/ENGINE/fd.
  const Parameters& fixed = request.fixed;
  constexpr int kReadDirectory = O_RDONLY | O_DIRECTORY;
  EngineFiles files;
  if (request.images_path != nullptr) {
    files.images = ::open(request.images_path, kReadDirectory | O_CLOEXEC | O_NOCTTY);
    Require(files.images != -1, Step::kImages, -1);
  } else if (fixed.images_fd != -1) {
    files.images = OpenCallersFd(fixed.images_fd, kReadDirectory, Step::kImages);
  }
  // CRIU changes into the work directory, which needs search permission only. O_PATH checks
  // nothing, so ask for the permission by name. The kernel checks again when CRIU, as the caller,
  // uses the directory.
  if (fixed.work_fd != -1) {
    files.work = OpenCallersFd(fixed.work_fd, O_PATH | O_DIRECTORY, Step::kWork);
    Require(::faccessat(files.work, ".", X_OK, AT_EACCESS) == 0, Step::kWork, fixed.work_fd);
  }
  // CRIU opens the status file for writing, and the kernel checks then. Opening it here could wait
  // for a FIFO's reader, and O_NONBLOCK would change an open file that other processes share.
  if (fixed.status_fd != -1) {
    files.status = OpenCallersFd(fixed.status_fd, O_PATH, Step::kStatus);
  }
  return files;
}

EngineFds PlaceEngineFds(int socket, bool hand_over, const EngineFiles& files) {
  // Each source is above its target: 3 to 7 are in use from the start, and the control socket was
  // moved above all of them.
  int next = kEngineSocketFd;
  EngineFds placed{};
  // A caller's own connection holds a request. Only the library moves the connection to 3, so that
  // CRIU without the library reads nothing.
  if (hand_over) placed.control = Place(ControlFd(), &next);
  Place(socket, &next);
  placed.files.images = Place(files.images, &next);
  placed.files.work = Place(files.work, &next);
  placed.files.status = Place(files.status, &next);
  // The library in the engine closes the copy after its last answer.
  if (!hand_over) placed.control = Place(ControlFd(), &next);
  Require(::close_range(static_cast<unsigned int>(next), UINT_MAX, CLOSE_RANGE_CLOEXEC) == 0,
          Step::kDescriptors, next);
  return placed;
}

}  // namespace criu_service::launcher
