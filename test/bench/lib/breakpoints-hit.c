// Succeeds if a hardware breakpoint on an instruction stops a process here. Under some hypervisors
// it never does, and a dump, which waits for it by default, never ends.
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

__attribute__((noinline, unused)) static void stop_here(void) { __asm__ volatile("nop"); }

int main(void) {
#if defined(__x86_64__)
  const pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    stop_here();
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  const size_t address = offsetof(struct user, u_debugreg[0]);
  const size_t control = offsetof(struct user, u_debugreg[7]);
  // The lowest bit enables the first breakpoint: execution, one byte (Intel SDM 3B, 17.2.4).
  if (ptrace(PTRACE_POKEUSER, child, address, stop_here) ||
      ptrace(PTRACE_POKEUSER, child, control, 1))
    return 0;  // CRIU notices that, too, and does without.
  ptrace(PTRACE_CONT, child, NULL, NULL);
  waitpid(child, &status, 0);
  if (!WIFSTOPPED(status)) return 1;
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
#endif
  return 0;
}
