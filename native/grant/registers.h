// The registers of a task, and a system call in them. Nothing else differs by architecture.
#pragma once

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>

#include <cstdint>

namespace criu_service::grant {

#if defined(__x86_64__)

using Registers = user_regs_struct;

// `syscall`. The bytes are that instruction wherever execution begins with them.
constexpr unsigned char kInstruction[] = {0x0f, 0x05};
constexpr uint64_t kAlignment = 1;

// The vdso of an x32 program, which is another, lies below, as does that of a program of 32 bits.
constexpr uint64_t kLowestVdso = uint64_t{1} << 32;

// The task is in a system call.
inline bool IsInCall(const Registers& registers) {
  return static_cast<int64_t>(registers.orig_rax) >= 0;
}

// With orig_rax -1 the kernel takes the task for one that is in no system call, and restarts none
// with these registers. TF: a task that steps itself is not to be trapped here.
inline Registers CallOf(Registers registers, uint64_t address, uint64_t number, uint64_t first,
                        uint64_t second) {
  constexpr uint64_t kTrapFlag = 0x100;
  registers.rip = address;
  registers.rax = number;
  registers.orig_rax = UINT64_MAX;
  registers.rdi = first;
  registers.rsi = second;
  registers.rdx = registers.r10 = registers.r8 = registers.r9 = 0;
  registers.eflags &= ~kTrapFlag;
  return registers;
}

// At the entry of a system call.
inline bool IsCall(const Registers& registers, uint64_t address, uint64_t number, uint64_t first,
                   uint64_t second) {
  return registers.rip == address + sizeof kInstruction && registers.orig_rax == number &&
         registers.rdi == first && registers.rsi == second;
}

inline int64_t ResultOf(const Registers& registers) { return static_cast<int64_t>(registers.rax); }

// At the entry of a system call: there is no such number, so nothing is done.
inline bool Cancel(pid_t /*pid*/, Registers* registers) {
  registers->orig_rax = UINT64_MAX;
  return true;
}

#elif defined(__aarch64__)

using Registers = user_regs_struct;

constexpr unsigned char kInstruction[] = {0x01, 0x00, 0x00, 0xd4};  // `svc #0`.
constexpr uint64_t kAlignment = 4;
constexpr uint64_t kLowestVdso = 1;

// These registers do not tell.
inline bool IsInCall(const Registers& /*registers*/) { return false; }

// The kernel has set the registers to restart a system call before it stops a task (do_signal in
// its arch/arm64/kernel/signal.c), so the saved ones restart it. It forgets the time that is left
// of a relative timeout, which begins anew.
inline Registers CallOf(Registers registers, uint64_t address, uint64_t number, uint64_t first,
                        uint64_t second) {
  registers.pc = address;
  registers.regs[8] = number;
  registers.regs[0] = first;
  registers.regs[1] = second;
  registers.regs[2] = registers.regs[3] = registers.regs[4] = 0;
  return registers;
}

inline bool IsCall(const Registers& registers, uint64_t address, uint64_t number, uint64_t first,
                   uint64_t second) {
  return registers.pc == address + sizeof kInstruction && registers.regs[8] == number &&
         registers.regs[0] == first && registers.regs[1] == second;
}

inline int64_t ResultOf(const Registers& registers) {
  return static_cast<int64_t>(registers.regs[0]);
}

inline bool Cancel(pid_t pid, Registers* /*registers*/) {
  int number = -1;
  iovec bytes{&number, sizeof number};
  return ::ptrace(PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, &bytes) == 0;
}

#else
#error "criu-grant knows the registers of x86-64 and aarch64"
#endif

}  // namespace criu_service::grant
