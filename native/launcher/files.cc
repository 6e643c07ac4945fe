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
  // Checked on the descriptor, and executed or read from that: what lies at the path later is
  // another matter. O_NONBLOCK: a FIFO would wait for a writer.
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  Require(fd != -1, step, kFileCannotBeRead);
  struct stat file {};
  Require(::fstat(fd, &file) == 0, step, kFileCannotBeRead);
  if (!S_ISREG(file.st_mode)) Fail(step, 0, kFileNotRegular);
  if (file.st_uid != 0) Fail(step, 0, kFileNotRoots);
  // With an access control list the group's bits are its mask, so that it is covered too (acl(5)).
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
  // ENODATA: none. EOPNOTSUPP: a file system without them.
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
  // /proc/PID/fd/N leads to the open file itself, and opening it there checks three things against
  // us, who are the caller: that we may look into that process (the read mode of ptrace(2): not
  // when it is another uid's or non-dumpable by now), and the file's own permissions anew, as if
  // it were opened by name. So a descriptor of a directory that the caller could not open, held
  // with O_PATH or received from somebody, is refused here. That is why the images are opened
  // with O_RDONLY, as CRIU will open them once more through /proc/ENGINE/fd.
  const Parameters& fixed = request.fixed;
  constexpr int kReadDirectory = O_RDONLY | O_DIRECTORY;
  EngineFiles files;
  if (request.images_path != nullptr) {
    files.images = ::open(request.images_path, kReadDirectory | O_CLOEXEC | O_NOCTTY);
    Require(files.images != -1, Step::kImages, -1);
  } else if (fixed.images_fd != -1) {
    files.images = OpenCallersFd(fixed.images_fd, kReadDirectory, Step::kImages);
  }
  // CRIU changes into this one, which needs search permission and no other. O_PATH checks nothing,
  // so the permission is asked for by name; the kernel does it again when CRIU, as the caller, uses
  // it.
  if (fixed.work_fd != -1) {
    files.work = OpenCallersFd(fixed.work_fd, O_PATH | O_DIRECTORY, Step::kWork);
    Require(::faccessat(files.work, ".", X_OK, AT_EACCESS) == 0, Step::kWork, fixed.work_fd);
  }
  // CRIU opens it for writing, and there the kernel checks. To open it here could wait for a
  // FIFO's reader, and what O_NONBLOCK would change is an open file that belongs to others.
  if (fixed.status_fd != -1) {
    files.status = OpenCallersFd(fixed.status_fd, O_PATH, Step::kStatus);
  }
  return files;
}

EngineFds PlaceEngineFds(int socket, bool hand_over, const EngineFiles& files) {
  // Each source is above its target: 3 to 7 were taken from the start, and the control socket was
  // moved above all of them.
  int next = kEngineSocketFd;
  EngineFds placed{};
  // A caller's own connection has a request in it: it gets that number by the library, so that CRIU
  // without the library reads nothing.
  if (hand_over) placed.control = Place(ControlFd(), &next);
  Place(socket, &next);
  placed.files.images = Place(files.images, &next);
  placed.files.work = Place(files.work, &next);
  placed.files.status = Place(files.status, &next);
  // The library in the engine closes it when it has said what it has done.
  if (!hand_over) placed.control = Place(ControlFd(), &next);
  Require(::close_range(static_cast<unsigned int>(next), UINT_MAX, CLOSE_RANGE_CLOEXEC) == 0,
          Step::kDescriptors, next);
  return placed;
}

}  // namespace criu_service::launcher
