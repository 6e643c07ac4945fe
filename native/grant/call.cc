// A task is seized and stopped, gets registers with which it makes the call by an instruction of
// its own vdso, and gets its registers back. It stops three times:
//
//   PTRACE_EVENT_STOP   the kernel is on its way back to the task's program, after a system call
//                       that it interrupted (and will restart), or between two instructions
//   entry of the call   PTRACE_SYSCALL; a call that is another is cancelled
//   exit of the call    its result
//   PTRACE_EVENT_STOP   again, without an instruction in between. Only here does the kernel look
//                       whether a system call is to be restarted, so here the registers come back
//
// A single step in place of PTRACE_SYSCALL ends with a SIGTRAP that the kernel forces: that resets
// the task's action for SIGTRAP if it ignores or blocks the signal.
//
// Signals are blocked meanwhile, so that no handler of the task runs with these registers. SIGSTOP
// cannot be blocked, and is delivered: it stops the process, and PTRACE_DETACH leaves it stopped
// unless SIGCONT has come since.
#include "call.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "maps.h"
#include "registers.h"
#include "report.h"

namespace criu_service::grant {
namespace {

// glibc has names for these since 2.35 and later.
constexpr int kGetRseqConfiguration = 0x420f;          // Linux 5.13.
constexpr int kGetSyscallUserDispatchConfig = 0x4211;  // Linux 6.4.

struct RseqConfiguration {
  uint64_t address;
  uint32_t size;
  uint32_t signature;
  uint32_t flags;
  uint32_t pad;
};
constexpr uint64_t kOffsetOfRseqCs = 8;  // struct rseq.

struct DispatchConfiguration {
  uint64_t mode;
  uint64_t selector;
  uint64_t offset;
  uint64_t length;
};

enum class Stop { kEvent, kSyscall, kSignal, kGone };

// The system call: glibc's function wants pointers, also for numbers.
long Trace(int request, pid_t pid, uint64_t address = 0, uint64_t data = 0) {
  return ::syscall(SYS_ptrace, static_cast<long>(request), static_cast<long>(pid), address, data);
}

template <typename T>
long TraceWith(int request, pid_t pid, uint64_t address, T* data) {
  return Trace(request, pid, address, reinterpret_cast<uintptr_t>(data));
}

// A task goes at any moment: another of its threads executes a program, or somebody kills it.
[[noreturn]] void RefuseTraced(const Task& task, Fault fault, int error) {
  Refuse(IsThere(task) ? fault : Fault::kGone, task.pid, error);
}

// Waits for the next stop. `signal`: that of a kSignal.
Stop Await(const Task& task, int* signal) {
  for (;;) {
    int status = 0;
    // A page fault that no signal ends may hold the task: what it maps is its user's.
    if (Critical::IsOver()) return Stop::kGone;
    if (::waitpid(task.pid, &status, __WALL) == -1) {
      if (errno != EINTR) return Stop::kGone;
      // Only in a Critical is there a life after the deadline. The task may be in a frozen cgroup:
      // it stops there, too, but executes nothing.
      if (Trace(PTRACE_INTERRUPT, task.pid) == -1) return Stop::kGone;
      continue;
    }
    if (!WIFSTOPPED(status)) return Stop::kGone;
    *signal = WSTOPSIG(status);
    if (status >> 16 == PTRACE_EVENT_STOP) return Stop::kEvent;
    return *signal == (SIGTRAP | 0x80) ? Stop::kSyscall : Stop::kSignal;
  }
}

// Returns false if the task has gone.
bool StopTask(const Task& task) {
  int signal = 0;
  if (Trace(PTRACE_INTERRUPT, task.pid) == -1) return false;
  for (;;) {
    const Stop stop = Await(task, &signal);
    if (stop == Stop::kEvent) return true;
    if (stop == Stop::kGone) return false;
    // A signal that comes first is delivered. The interruption has to be asked for again.
    if (Trace(PTRACE_INTERRUPT, task.pid) == -1 ||
        Trace(PTRACE_CONT, task.pid, 0,
              static_cast<uint64_t>(stop == Stop::kSignal ? signal : 0)) == -1) {
      return false;
    }
  }
}

// The kernel gives programs of the same kind the same vdso, so the instruction is where ours has
// it, and the task's memory is not read: a file system of its user's could lie there, and not
// answer. A task whose other threads lay something else there does that in its own name, which is
// seen at the entry of the call.
struct Vdso {
  uint64_t start = 0;  // 0: there is none.
  uint64_t size = 0;
};

Vdso VdsoIn(Maps* maps) {
  Mapping mapping{};
  while (maps->Next(&mapping)) {
    if (mapping.is_vdso) return {mapping.start, mapping.end - mapping.start};
  }
  return {};
}

// Returns 0 if there is none: no code is at the beginning.
uint64_t OffsetOfInstruction(const Vdso& own) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): /proc tells it as a number.
  const auto* const bytes = reinterpret_cast<const unsigned char*>(own.start);
  for (uint64_t at = 0; at + sizeof kInstruction <= own.size; at += kAlignment) {
    if (std::memcmp(bytes + at, kInstruction, sizeof kInstruction) == 0) return at;
  }
  return 0;
}

// Returns the address of the instruction in the task's vdso, or 0.
uint64_t FindCode(const Task& task) {
  static Vdso own;
  if (own.start == 0) {
    const int directory = OpenProcess(::getpid());
    Maps maps(directory);
    if (maps.IsOpen()) own = VdsoIn(&maps);
    if (directory != -1) ::close(directory);
  }
  const uint64_t offset = OffsetOfInstruction(own);
  Maps maps(task.directory);
  if (!maps.IsOpen()) RefuseTraced(task, Fault::kRead, errno);
  const Vdso theirs = VdsoIn(&maps);
  const bool is_same = theirs.start >= kLowestVdso && theirs.size == own.size;
  return is_same && offset != 0 ? theirs.start + offset : 0;
}

bool IsInFile(const Task& task, uint64_t address) {
  Maps maps(task.directory);
  if (!maps.IsOpen()) RefuseTraced(task, Fault::kRead, errno);
  Mapping mapping{};
  while (maps.Next(&mapping)) {
    if (mapping.start <= address && address < mapping.end) return mapping.is_of_file;
  }
  return false;
}

// A restartable sequence (rseq(2)) that the stop has interrupted: the kernel forgets it when the
// task is found elsewhere, and must not. 0 where there is none.
uint64_t ReadSequence(int memory, uint64_t address) {
  uint64_t sequence = 0;
  if (address != 0) {
    const auto at = static_cast<off_t>(address + kOffsetOfRseqCs);
    if (::pread(memory, &sequence, sizeof sequence, at) != sizeof sequence) return 0;
  }
  return sequence;
}

// The state of a stopped task that the call changes.
class Saved {
 public:
  // Refuses a task of another architecture, a task with a call that would not reach the kernel, and
  // a task that could not be put back: the kernel lets a program have segments that it does not
  // take from a tracer.
  Saved(const Task& task, int memory) : task_(task), memory_(memory) {
    iovec bytes{&registers_, sizeof registers_};
    const bool is_read = TraceWith(PTRACE_GETREGSET, task.pid, NT_PRSTATUS, &bytes) == 0;
    if (!is_read) RefuseTraced(task, Fault::kSeize, errno);
    if (bytes.iov_len != sizeof registers_) RefuseTraced(task, Fault::kCompat, 0);
    DispatchConfiguration dispatch{};
    if (TraceWith(kGetSyscallUserDispatchConfig, task.pid, sizeof dispatch, &dispatch) != -1 &&
        dispatch.mode != 0) {
      RefuseTraced(task, Fault::kDispatch, 0);
    }
    RseqConfiguration rseq{};
    // No restartable sequence has a system call in it.
    if (!IsInCall(registers_) &&
        TraceWith(kGetRseqConfiguration, task.pid, sizeof rseq, &rseq) != -1) {
      rseq_ = rseq.address;
    }
    // A file system of its user's need not answer.
    if (rseq_ != 0 && IsInFile(task, rseq_ + kOffsetOfRseqCs)) {
      RefuseTraced(task, Fault::kSequence, 0);
    }
    sequence_ = ReadSequence(memory, rseq_);
    if (TraceWith(PTRACE_GETSIGMASK, task.pid, sizeof mask_, &mask_) == -1) {
      RefuseTraced(task, Fault::kSeize, errno);
    }
    if (TraceWith(PTRACE_SETREGSET, task.pid, NT_PRSTATUS, &bytes) == -1) {
      RefuseTraced(task, Fault::kRegisters, errno);
    }
  }

  const Registers& OfTask() const { return registers_; }

  // Returns false if the task has gone.
  bool BlockSignals() const {
    uint64_t all = ~uint64_t{0};
    return TraceWith(PTRACE_SETSIGMASK, task_.pid, sizeof all, &all) != -1;
  }

  // Returns false if the task has gone.
  bool PutBack() {
    iovec bytes{&registers_, sizeof registers_};
    const bool has_registers = TraceWith(PTRACE_SETREGSET, task_.pid, NT_PRSTATUS, &bytes) != -1;
    const bool has_mask = TraceWith(PTRACE_SETSIGMASK, task_.pid, sizeof mask_, &mask_) != -1;
    // Last, because its other threads may map a file there that keeps us waiting.
    if (ReadSequence(memory_, rseq_) != sequence_) {
      const auto at = static_cast<off_t>(rseq_ + kOffsetOfRseqCs);
      // Memory that has gone meanwhile was the task's own to unmap.
      static_cast<void>(::pwrite(memory_, &sequence_, sizeof sequence_, at) == 0);
    }
    return has_registers && has_mask;
  }

 private:
  const Task& task_;
  int memory_;
  Registers registers_{};
  uint64_t mask_ = 0;
  uint64_t rseq_ = 0;
  uint64_t sequence_ = 0;
};

// The call, from the first PTRACE_EVENT_STOP to the second.
class Call {
 public:
  Call(const Task& task, uint64_t address, const Task& engine)
      : task_(task),
        address_(address),
        engine_(engine),
        tracer_(static_cast<uint64_t>(engine.pid)) {}

  // Afterwards the task is in a PTRACE_EVENT_STOP, or has gone.
  void Make(const Registers& registers) {
    Execute(registers);
    if (fault_ != Fault::kNone || IsThere(engine_)) return;
    // The pid may have changed hands before the call, because a user can hold it up (a filter of
    // another thread, a cgroup without time on any processor).
    tracer_ = 0;
    Execute(registers);
    if (fault_ == Fault::kNone) fault_ = Fault::kGone;
  }

  Fault TheFault() const { return fault_; }
  int Error() const { return error_; }

 private:
  // From one PTRACE_EVENT_STOP to the next.
  void Execute(Registers registers) {
    fault_ = Fault::kDisturbed;
    registers = CallOf(registers, address_, SYS_prctl, PR_SET_PTRACER, tracer_);
    if (!Set(&registers) || !Continue(PTRACE_SYSCALL) || !AwaitSyscall() || !Get(&registers)) {
      return;
    }
    const Fault fault = AtEntry(registers);
    if (fault != Fault::kNone && (!Cancel(task_.pid, &registers) || !Set(&registers))) return;
    if (!Continue(PTRACE_SYSCALL) || !AwaitSyscall() || !Get(&registers)) return;
    const int64_t result = ResultOf(registers);
    error_ = fault == Fault::kNone ? static_cast<int>(-result) : 0;
    fault_ = error_ == 0 ? fault : Fault::kCall;
    AwaitEvent();
  }

  // The kernel looks for the pid from now on.
  Fault AtEntry(const Registers& registers) const {
    if (!IsCall(registers, address_, SYS_prctl, PR_SET_PTRACER, tracer_)) return Fault::kDisturbed;
    if (tracer_ == 0) return Fault::kNone;
    return HasEnded(engine_) || IsServiceGone() ? Fault::kGone : Fault::kNone;
  }

  bool Get(Registers* registers) const {
    iovec bytes{registers, sizeof *registers};
    return TraceWith(PTRACE_GETREGSET, task_.pid, NT_PRSTATUS, &bytes) != -1;
  }

  bool Set(Registers* registers) const {
    iovec bytes{registers, sizeof *registers};
    return TraceWith(PTRACE_SETREGSET, task_.pid, NT_PRSTATUS, &bytes) != -1;
  }

  // Of signals the task gets SIGSTOP only.
  bool Continue(int request, int signal = 0) const {
    return Trace(request, task_.pid, 0, signal == SIGSTOP ? SIGSTOP : 0) != -1;
  }

  // Returns false if the task has gone, or is in a PTRACE_EVENT_STOP without having come to a call:
  // it was too late, or the instruction has faulted.
  bool AwaitSyscall() {
    for (;;) {
      int signal = 0;
      switch (Await(task_, &signal)) {
        case Stop::kSyscall:
          return true;
        case Stop::kGone:
          return false;
        case Stop::kEvent:
          if (!Critical::IsLate()) break;
          fault_ = Fault::kLate;
          return false;
        case Stop::kSignal:
          if (signal == SIGSTOP) {
            if (!Continue(PTRACE_SYSCALL, signal)) return false;
            continue;
          }
          // A fault that the kernel forces on it.
          fault_ = Fault::kDisturbed;
          AwaitEvent();
          return false;
      }
      if (!Continue(PTRACE_SYSCALL)) return false;
    }
  }

  // Goes on from any stop to a PTRACE_EVENT_STOP, without an instruction of the task in between.
  // Other signals than SIGSTOP come only from this call, and are dropped.
  void AwaitEvent() const {
    int signal = 0;
    Stop stop = Stop::kSyscall;
    while (stop == Stop::kSyscall || stop == Stop::kSignal) {
      if (Trace(PTRACE_INTERRUPT, task_.pid) == -1 || !Continue(PTRACE_CONT, signal)) return;
      stop = Await(task_, &signal);
    }
  }

  const Task& task_;
  uint64_t address_;
  const Task& engine_;
  uint64_t tracer_;  // 0: nobody.
  Fault fault_ = Fault::kDisturbed;
  int error_ = 0;
};

// The task could not be traced any more, which is no failure if it has ended: then this is false.
bool LostTo(const Task& task) {
  if (HasEnded(task)) return false;
  Refuse(Fault::kDisturbed, task.pid);
}

}  // namespace

bool NameEngine(const Task& task, const Task& engine, const Parameters& parameters) {
  StartDeadline(task.pid);
  Status status{};
  if (!ReadStatus(task, &status) || status.HasEnded()) return false;
  // The first look keeps our hands off tasks that are not the caller's.
  if (const Fault fault = LookAt(task, status, parameters, 0); fault != Fault::kNone) {
    if (HasEnded(task)) return false;
    RefuseTraced(task, fault, 0);
  }
  if (Trace(PTRACE_SEIZE, task.pid, 0, PTRACE_O_TRACESYSGOOD) == -1) {
    const int error = errno;
    if (HasEnded(task)) return false;
    Refuse(Fault::kSeize, task.pid, error);
  }
  // The pid is that of the directory's process only if that names us as its tracer.
  if (!ReadStatus(task, &status)) RefuseTraced(task, Fault::kGone, 0);
  if (!StopTask(task)) return LostTo(task);
  // The second look counts: between the first and the stop it may have executed a setuid program.
  if (!ReadStatus(task, &status)) return false;
  if (const Fault fault = LookAt(task, status, parameters, ::getpid()); fault != Fault::kNone) {
    RefuseTraced(task, fault, 0);
  }
  // Opened before the first request to the stopped task. If another of its threads has executed a
  // program by now, this is the memory of that one, the task is no tracee, and the request fails.
  const int memory = ::openat(task.directory, "mem", O_RDWR | O_CLOEXEC);
  if (memory == -1) RefuseTraced(task, Fault::kRead, errno);
  Saved saved(task, memory);
  const uint64_t code = FindCode(task);
  if (code == 0) RefuseTraced(task, Fault::kNoCode, 0);

  Call call(task, code, engine);
  bool is_there = false;
  {
    const Critical critical;
    if (saved.BlockSignals()) call.Make(saved.OfTask());
    is_there = saved.PutBack() && Trace(PTRACE_DETACH, task.pid) != -1;
  }
  ::close(memory);
  if (!is_there) return LostTo(task);
  if (call.TheFault() == Fault::kGone) Refuse(Fault::kGone, engine.pid);
  if (call.TheFault() != Fault::kNone) RefuseTraced(task, call.TheFault(), call.Error());
  return true;
}

}  // namespace criu_service::grant
