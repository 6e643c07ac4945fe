// The program's answer, its only way to end, and its deadline.
#pragma once

#include <sys/types.h>

#include "protocol.h"

namespace criu_service::grant {

// The counts of the answer.
struct Progress {
  Consent consent;
  uint32_t named;
  uint32_t before;
};
extern Progress progress;

// Answers, and exits. The kernel lets go of every task that is still traced: it goes on, or stays
// stopped, as it would have without us.
[[noreturn]] void Refuse(Fault fault, pid_t pid = 0, int error = 0);
[[noreturn]] void Succeed();

// Refuses with kLate, and this pid, when kSeconds are over, or kMostSeconds since the first call,
// and when the service has gone or a signal asks the program to end. A system call that waits is
// interrupted each second from then on.
void StartDeadline(pid_t pid);

// For a child: signals end it as usual, and it has no way to answer.
void BecomeSilent();

// The service has closed its end of the connection, or has gone.
bool IsServiceGone();

// While a task has registers that are not its own, the program must not end. After the deadline it
// ends with the last Critical.
class Critical {
 public:
  Critical();
  ~Critical();
  Critical(const Critical&) = delete;
  Critical& operator=(const Critical&) = delete;

  static bool IsLate();
  // kLastSeconds are over: the program ends as soon as the registers were put back, if they can be.
  static bool IsOver();
};

}  // namespace criu_service::grant
