#include "report.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <ctime>

namespace criu_service::grant {

Progress progress{};

namespace {

volatile sig_atomic_t is_critical = 0;
volatile sig_atomic_t is_late = 0;
volatile sig_atomic_t at_work_on = 0;
time_t start = 0;

// Those that end the program; nobody but root can send them.
constexpr int kEnding[] = {SIGALRM, SIGHUP, SIGINT, SIGTERM};

time_t Now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

// Called by a signal handler, too, so it makes system calls only. MSG_NOSIGNAL: a service that has
// gone must not decide how the program ends.
[[noreturn]] void End(Fault fault, pid_t pid, int error) {
  const Answer answer{kMagic, kVersion, fault,          progress.consent,
                      pid,    error,    progress.named, progress.before};
  ::send(kControlFd, &answer, sizeof answer, MSG_NOSIGNAL);
  ::_exit(fault == Fault::kNone ? 0 : 1);
}

void OnEnding(int /*signal*/) {
  is_late = 1;
  if (is_critical == 0) End(Fault::kLate, at_work_on, 0);
}

}  // namespace

void Refuse(Fault fault, pid_t pid, int error) { End(fault, pid, error); }

void Succeed() { End(Fault::kNone, 0, 0); }

void StartDeadline(pid_t pid) {
  at_work_on = pid;
  if (start == 0) start = Now();
  if (Now() >= start + kMostSeconds || IsServiceGone()) Refuse(Fault::kLate, pid);
  struct sigaction action {};
  action.sa_handler = OnEnding;  // Without SA_RESTART: a wait ends with EINTR.
  for (const int signal : kEnding) {
    if (::sigaction(signal, &action, nullptr) != 0) Refuse(Fault::kSelf, 0, errno);
  }
  const itimerval deadline{{1, 0}, {kSeconds, 0}};
  if (::setitimer(ITIMER_REAL, &deadline, nullptr) != 0) Refuse(Fault::kSelf, 0, errno);
}

void BecomeSilent() {
  for (const int signal : kEnding) {
    if (::signal(signal, SIG_DFL) == SIG_ERR) ::_exit(1);
  }
  ::close(kControlFd);
}

bool IsServiceGone() {
  pollfd control{kControlFd, 0, 0};
  return ::poll(&control, 1, 0) == 1;
}

Critical::Critical() { is_critical = 1; }

Critical::~Critical() {
  is_critical = 0;
  if (is_late != 0) End(Fault::kLate, at_work_on, 0);
}

bool Critical::IsLate() { return is_late != 0; }

bool Critical::IsOver() { return is_late != 0 && Now() >= start + kLastSeconds; }

}  // namespace criu_service::grant
