#include "maps.h"

#include <fcntl.h>
#include <unistd.h>

#include <cinttypes>
#include <cstring>

namespace criu_service::grant {
namespace {

// A user names files and makes paths of any length, so only a line from its beginning to its end
// counts. The kernel escapes a newline in a path.
bool ReadLine(FILE* file, char* line, int size) {
  if (std::fgets(line, size, file) == nullptr) return false;
  if (std::strchr(line, '\n') != nullptr) return true;
  int next = 0;
  while (next != '\n' && next != EOF) next = std::fgetc(file);
  return true;
}

}  // namespace

Maps::Maps(int directory) : file_(nullptr) {
  const int fd = ::openat(directory, "maps", O_RDONLY | O_CLOEXEC);
  if (fd == -1) return;
  file_ = ::fdopen(fd, "r");
  if (file_ == nullptr) ::close(fd);
}

Maps::~Maps() {
  if (file_ != nullptr) std::fclose(file_);
}

bool Maps::Next(Mapping* mapping) {
  char line[512];
  char access[5];
  unsigned int major = 0;
  unsigned int minor = 0;
  uint64_t inode = 0;
  int name = 0;
  if (!ReadLine(file_, line, sizeof line)) return false;
  // NOLINTNEXTLINE(cert-err34-c): the kernel has written the numbers.
  if (std::sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %x:%x %" SCNu64 " %n", &mapping->start,
                  &mapping->end, access, &major, &minor, &inode, &name) != 6) {
    return false;
  }
  mapping->is_of_file = major != 0 || minor != 0 || inode != 0;
  mapping->is_vdso = !mapping->is_of_file && std::strcmp(access, "r-xp") == 0 &&
                     std::strcmp(line + name, "[vdso]\n") == 0;
  return true;
}

}  // namespace criu_service::grant
