/**
 * Moves the pid counter of this boot to a random place in the upper half of all pids
 * (criu-pids.service). A restored process needs the pid that it had. Pids that were given out in
 * another boot, or on another machine, are then rarely in use in this one.
 *
 * A counter in the lower half moves to a random pid of the upper half, without its last eighth. A
 * counter in the upper half stays: the kernel would soon give pids again that have just become
 * free. With fewer than 32,768 pids the counter stays, too: chance needs room.
 *
 * The last eighth is left out because the counter starts again at 300 when it reaches the end,
 * where each boot begins.
 */
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

constexpr uint64_t kFewestPids = 32768;

[[noreturn]] void Fail(const std::string& what) {
  fprintf(stderr, "criu-pids: %s: %s\n", what.c_str(), strerror(errno));
  exit(EXIT_FAILURE);
}

uint64_t ReadNumber(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) Fail(path);
  char text[32];
  const ssize_t length = read(fd, text, sizeof text - 1);
  if (length < 0) Fail(path);
  close(fd);
  text[length] = '\0';
  char* end = text;
  errno = 0;
  const uint64_t number = strtoull(text, &end, 10);
  if (end == text || errno != 0) {
    errno = EINVAL;
    Fail(path);
  }
  return number;
}

void WriteNumber(const std::string& path, uint64_t number) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) Fail(path);
  const std::string text = std::to_string(number);
  if (write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) Fail(path);
  close(fd);
}

/** Early in a boot the kernel may not have gathered enough for secrets, and would block; this
 * number is no secret. */
uint64_t Random() {
  uint64_t number = 0;
  if (getrandom(&number, sizeof number, GRND_INSECURE) != sizeof number) Fail("getrandom");
  return number;
}

}  // namespace

/** The directory is an argument for tests only. */
int main(int argc, char** argv) {
  const std::string kernel = argc > 1 ? argv[1] : "/proc/sys/kernel";
  const std::string counter = kernel + "/ns_last_pid";
  const uint64_t pids = ReadNumber(kernel + "/pid_max");
  const uint64_t last = ReadNumber(counter);
  const uint64_t half = pids / 2;
  if (pids < kFewestPids) {
    printf("The pid counter stays at %ju: with %ju pids, chance has no room\n", last, pids);
  } else if (last >= half) {
    printf("The pid counter stays at %ju, in the upper half of %ju pids\n", last, pids);
  } else {
    const uint64_t next = half + Random() % (half - pids / 8);
    WriteNumber(counter, next);
    printf("The pid counter is moved from %ju to %ju of %ju\n", last, next, pids);
  }
  return EXIT_SUCCESS;
}
