// The words of an engine about its failure, for the service, which holds the engine's standard
// error but may not read a directory of the engine's user.
//
// CRIU's failing reply has its first error line. That is often not the line that says why, and
// never one of the restorer or the parasite, which write into the log by themselves. So before a
// failing reply leaves, this class repeats error lines of the log. It reads the log with the user's
// rights alone, like any other file that CRIU opens.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <string_view>

namespace criu_service::engine_preload {

class LastWords {
 public:
  using Syscall = long (*)(long, ...);

  constexpr LastWords() = default;

  // `call` is libc's own function.
  void Begin(Syscall call) { call_ = call; }

  // True for the flags with which CRIU opens its log (log_init in log.c).
  static constexpr bool OpensLog(int flags) {
    constexpr int kAll = O_CREAT | O_TRUNC | O_WRONLY | O_APPEND;
    return (flags & (kAll | O_ACCMODE)) == kAll;
  }

  // CRIU has opened its log, or failed to. The work directory is its current directory.
  void Open(const char* name, bool is_open, int failure) {
    if (call_ == nullptr || name == nullptr || std::strlen(name) >= name_.size()) return;
    std::snprintf(name_.data(), name_.size(), "%s", name);
    if (is_open) return;
    std::array<char, PATH_MAX> directory{};
    if (call_(SYS_getcwd, directory.data(), directory.size()) <= 0) directory[0] = '\0';
    std::array<char, PATH_MAX + 512> line{};
    const int size = std::snprintf(line.data(), line.size(),
                                   "criu-service: The log %s cannot be written in %s: errno %d\n",
                                   name_.data(), directory.data(), failure);
    if (size > 0) Write({line.data(), std::min(static_cast<size_t>(size), line.size() - 1)});
    name_[0] = '\0';
  }

  // True for a criu_resp with the value false in its second field (success), as CRIU encodes it.
  static bool IsFailure(const void* data, size_t size) {
    constexpr unsigned char kType = 0x08;
    constexpr unsigned char kSuccess = 0x10;
    const auto* bytes = static_cast<const unsigned char*>(data);
    return size >= 4 && bytes[0] == kType && bytes[2] == kSuccess && bytes[3] == 0;
  }

  // Repeats error lines of the log on standard error: those of code without libc, then the first of
  // all.
  void Repeat() {
    if (name_[0] == '\0') return;
    const int before = errno;
    const auto log = static_cast<int>(
        call_(SYS_openat, AT_FDCWD, name_.data(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (log >= 0) {
      struct stat file {};
      if (call_(SYS_fstat, log, &file) == 0 && S_ISREG(file.st_mode)) RepeatFrom(log, file.st_size);
      call_(SYS_close, log);
    }
    errno = before;
  }

 private:
  static constexpr size_t kTail = size_t{64} * 1024;
  static constexpr size_t kLongestLine = 300;
  static constexpr int kMostOfEach = 3;

  void RepeatFrom(int log, off_t size) {
    static std::array<char, kTail> tail;
    const off_t start = size > static_cast<off_t>(kTail) ? size - static_cast<off_t>(kTail) : 0;
    const long length = call_(SYS_pread64, log, tail.data(), tail.size(), start);
    if (length <= 0) return;
    const std::string_view text(tail.data(), static_cast<size_t>(length));
    RepeatLines(text, true);
    RepeatLines(text, false);
  }

  void RepeatLines(std::string_view text, bool without_libc) {
    for (int count = 0; !text.empty() && count < kMostOfEach;) {
      const size_t end = std::min(text.find('\n'), text.size());
      const std::string_view line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      const bool is_without = line.find("pie: ") != std::string_view::npos;
      if (line.find("Error (") == std::string_view::npos || is_without != without_libc) continue;
      Write("criu-service log: ");
      Write(line.substr(0, kLongestLine));
      Write("\n");
      count += 1;
    }
  }

  void Write(std::string_view text) { call_(SYS_write, STDERR_FILENO, text.data(), text.size()); }

  Syscall call_ = nullptr;
  std::array<char, NAME_MAX + 1> name_{};
};

}  // namespace criu_service::engine_preload
