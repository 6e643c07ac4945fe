/**
 * Holds the lock of a job in the foreground for as long as the root of its tree lives, also if the
 * criuctl that watches the job is killed: another machine, which sees the lock and not the
 * processes, would run the job a second time.
 *
 *     criu-job-claim ROOT-FILE
 *
 * Standard input ends when criuctl ends. A byte '+' there says that a start or restore is in
 * flight, and '-' that it is over: a restore may go on for a while after its criuctl has ended.
 * Another descriptor, which criuctl leaves open, is the lock; the kernel lets the lock go when the
 * last holder has ended. ROOT-FILE is the job's own copy of criu-job-root, by its absolute path
 * without links: the root of the tree executes this file, and so is found however it came to be.
 *
 * As long as /proc cannot be read, the tree counts as alive.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

constexpr int kExitUsage = 2;
constexpr unsigned kSecondsBetweenTries = 1;
// A restore that its caller has left ends soon, or lets its tree run soon.
constexpr unsigned kTriesInFlight = 60;

// A batch system that takes its node back may signal each process of a job.
void BlockSignals() {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
}

// Returns true if a start or restore was in flight.
bool WaitForEndOfInput() {
  char last = '-';
  char bytes[64];
  for (;;) {
    const ssize_t length = read(STDIN_FILENO, bytes, sizeof bytes);
    if (length > 0) last = bytes[length - 1];
    if (length == 0 || (length < 0 && errno != EINTR)) return last == '+';
  }
}

bool Executes(pid_t pid, const std::string& file) {
  const std::string link = "/proc/" + std::to_string(pid) + "/exe";
  char target[PATH_MAX];
  const ssize_t length = readlink(link.c_str(), target, sizeof target);
  return length >= 0 && file == std::string(target, static_cast<size_t>(length));
}

enum class Waited { kNoProcess, kEnded, kCannotTell };

Waited WaitFor(pid_t pid, const std::string& file) {
  const int process = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (process < 0) return errno == ESRCH ? Waited::kEnded : Waited::kCannotTell;
  pollfd ended = {process, POLLIN, 0};
  // The pid may have become another process's before it was opened.
  const bool told = !Executes(pid, file) || poll(&ended, 1, -1) == 1;
  close(process);
  return told ? Waited::kEnded : Waited::kCannotTell;
}

// Waits for the end of a process that executes the file.
Waited WaitForProcess(const std::string& file) {
  DIR* const directory = opendir("/proc");
  if (directory == nullptr) return Waited::kCannotTell;
  Waited waited = Waited::kNoProcess;
  while (waited == Waited::kNoProcess) {
    errno = 0;
    const dirent* const entry = readdir(directory);
    if (entry == nullptr) {
      if (errno != 0) waited = Waited::kCannotTell;
      break;
    }
    char* end = nullptr;
    const pid_t pid = static_cast<pid_t>(strtol(entry->d_name, &end, 10));
    if (*end == '\0' && pid > 0 && Executes(pid, file)) waited = WaitFor(pid, file);
  }
  closedir(directory);
  return waited;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 || argv[1][0] != '/') {
    fprintf(stderr, "usage: criu-job-claim ROOT-FILE\n");
    return kExitUsage;
  }
  BlockSignals();
  setsid();
  // No mount is kept busy.
  if (chdir("/") != 0) return EXIT_FAILURE;
  unsigned tries = WaitForEndOfInput() ? kTriesInFlight : 0;
  for (;;) {
    const Waited waited = WaitForProcess(argv[1]);
    if (waited == Waited::kEnded) {
      tries = 0;
      continue;
    }
    if (waited == Waited::kNoProcess && tries-- == 0) return EXIT_SUCCESS;
    sleep(kSecondsBetweenTries);
  }
}
