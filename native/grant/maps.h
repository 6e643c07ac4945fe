// The mappings of a process, as /proc/PID/maps tells them.
#pragma once

#include <cstdint>
#include <cstdio>

namespace criu_service::grant {

struct Mapping {
  uint64_t start;
  uint64_t end;
  bool is_of_file;  // Shared anonymous memory is a file, too.
  bool is_vdso;     // The kernel's own, and executable.
};

class Maps {
 public:
  // `directory` is /proc/PID.
  explicit Maps(int directory);
  ~Maps();
  Maps(const Maps&) = delete;
  Maps& operator=(const Maps&) = delete;

  // With errno.
  bool IsOpen() const { return file_ != nullptr; }
  // Returns false at the end.
  bool Next(Mapping* mapping);

 private:
  FILE* file_;
};

}  // namespace criu_service::grant
