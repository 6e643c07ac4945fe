/**
 * The root of a job's tree: starts the job's command, collects its orphans, passes signals on, and
 * leaves the command's end in a file. The kernel tells the end of a process only to its parent, and
 * a restored process has another parent than before; its own root comes back with it.
 *
 *     criu-job-root END-FILE COMMAND-FILE ARGUMENT-0 [ARGUMENT...]
 *
 * The file has one line when the command has ended: "exited STATUS" or "killed SIGNAL". It appears
 * by a rename, so a reader never sees half of it.
 *
 * The program runs for as long as its job, is part of each checkpoint, and must be the same file
 * when the job comes back. So each job has a copy of it, and it needs no library that an upgrade
 * would replace. It has no libc: a few system calls, and some kilobytes of memory.
 */
// A package's build hardens each function, and a canary would lie where libc has it.
#pragma GCC optimize("no-stack-protector")

namespace {

using Size = unsigned long;
using Word = long;

#if defined(__x86_64__)
// asm/unistd_64.h
enum Call : Word {
  kWrite = 1,
  kClose = 3,
  kFork = 57,
  kExecve = 59,
  kExit = 231,
  kWait4 = 61,
  kKill = 62,
  kFsync = 74,
  kPrctl = 157,
  kGeteuid = 107,
  kCapset = 126,
  kNanosleep = 35,
  kIoctl = 16,
  kOpenat = 257,
  kRenameat = 264,
  kSigprocmask = 14,
  kSigtimedwait = 128,
};

Word Do(Word number, Word a = 0, Word b = 0, Word c = 0, Word d = 0, Word e = 0) {
  Word result;
  register Word r10 asm("r10") = d;
  register Word r8 asm("r8") = e;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
               : "rcx", "r11", "memory");
  return result;
}

Word Fork() { return Do(kFork); }
Word Rename(const char* from, const char* to) {
  return Do(kRenameat, -100, reinterpret_cast<Word>(from), -100, reinterpret_cast<Word>(to));
}

asm(R"(
.globl _start
_start:
  xor %ebp, %ebp
  mov %rsp, %rdi
  and $-16, %rsp
  call JobRoot
  hlt
)");
#elif defined(__aarch64__)
// asm-generic/unistd.h
enum Call : Word {
  kWrite = 64,
  kClose = 57,
  kClone = 220,
  kExecve = 221,
  kExit = 94,
  kWait4 = 260,
  kKill = 129,
  kFsync = 82,
  kPrctl = 167,
  kGeteuid = 175,
  kCapset = 91,
  kNanosleep = 101,
  kIoctl = 29,
  kOpenat = 56,
  kRenameat2 = 276,
  kSigprocmask = 135,
  kSigtimedwait = 137,
};

Word Do(Word number, Word a = 0, Word b = 0, Word c = 0, Word d = 0, Word e = 0) {
  register Word x8 asm("x8") = number;
  register Word x0 asm("x0") = a;
  register Word x1 asm("x1") = b;
  register Word x2 asm("x2") = c;
  register Word x3 asm("x3") = d;
  register Word x4 asm("x4") = e;
  asm volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
}

Word Fork() { return Do(kClone, 17 /* SIGCHLD */); }
Word Rename(const char* from, const char* to) {
  return Do(kRenameat2, -100, reinterpret_cast<Word>(from), -100, reinterpret_cast<Word>(to), 0);
}

asm(R"(
.globl _start
_start:
  mov x29, #0
  mov x30, #0
  mov x0, sp
  and sp, x0, #-16
  bl JobRoot
  brk #1
)");
#else
#error "the system calls of this architecture are missing"
#endif

constexpr Word kCurrentDirectory = -100;                 // AT_FDCWD
constexpr Word kSetMask = 2;                             // SIG_SETMASK
constexpr Word kSetPtracer = 0x59616d61;                 // PR_SET_PTRACER
constexpr Word kEndWithParent = 1;                       // PR_SET_PDEATHSIG
constexpr Word kSubreaper = 36;                          // PR_SET_CHILD_SUBREAPER
constexpr Word kAmbient = 47;                            // PR_CAP_AMBIENT
constexpr Word kClearAll = 4;                            // PR_CAP_AMBIENT_CLEAR_ALL
constexpr Word kTakeTerminal = 0x540e;                   // TIOCSCTTY
constexpr int kByKernel = 0x80;                          // SI_KERNEL
constexpr Word kNoHang = 1;                              // WNOHANG
constexpr Word kNewFile = 01 | 0100 | 01000 | 02000000;  // O_WRONLY O_CREAT O_TRUNC O_CLOEXEC

constexpr Word kSigHup = 1;
constexpr Word kSigChld = 17;
// Signals to the job are meant for its command. SIGTSTP and its kind stay with a shell's job
// control.
constexpr Word kPassedOn[] = {kSigHup,       2 /* INT */,   3 /* QUIT */,   10 /* USR1 */,
                              12 /* USR2 */, 15 /* TERM */, 28 /* WINCH */, 30 /* PWR */};

constexpr Word kNotFound = 127;  // as a shell has it
constexpr Word kNotRun = 126;
constexpr Word kEndedBySignal = 128;  // and the signal's number
constexpr Word kNoEntry = -2;         // ENOENT
constexpr int kMostTries = 60;

using Set = unsigned long;

constexpr Set Bit(Word signal) { return 1UL << (signal - 1); }

template <typename T>
Word At(const T* pointer) {
  return reinterpret_cast<Word>(pointer);
}

// Text of bounded length; the rest is left out.
class Text {
 public:
  void Add(const char* more) {
    while (*more != '\0' && length_ < sizeof text_ - 1) text_[length_++] = *more++;
    text_[length_] = '\0';
  }
  void Add(Word number) {
    char digits[24];
    Size at = sizeof digits;
    digits[--at] = '\0';
    do digits[--at] = static_cast<char>('0' + number % 10);
    while ((number /= 10) != 0 && at > 0);
    Add(digits + at);
  }
  const char* Get() const { return text_; }
  Size GetLength() const { return length_; }

 private:
  char text_[4096 + 64] = {};
  Size length_ = 0;
};

[[noreturn]] void Exit(Word status) {
  for (;;) Do(kExit, status);
}

// PATH for the line, by way of PATH.new.
bool Leave(const char* path, const Text& line) {
  Text aside;
  aside.Add(path);
  aside.Add(".new");
  const Word fd = Do(kOpenat, kCurrentDirectory, At(aside.Get()), kNewFile, 0600);
  if (fd < 0) return false;
  const bool written = Do(kWrite, fd, At(line.Get()), static_cast<Word>(line.GetLength())) ==
                           static_cast<Word>(line.GetLength()) &&
                       Do(kFsync, fd) == 0;
  Do(kClose, fd);
  return written && Rename(aside.Get(), path) == 0;
}

// A full disk has room again soon, or never.
void LeaveAtLast(const char* path, const Text& line) {
  const Word second[2] = {1, 0};
  for (int attempt = 0; attempt < kMostTries && !Leave(path, line); ++attempt) {
    Do(kNanosleep, At(second), 0);
  }
}

// A user's manager gives its units CAP_WAKE_ALARM, and a login may have it or not. A process is
// dumped only for a caller with the same capabilities: a job drops all of them, so that its user
// can ask from everywhere.
void DropCapabilities() {
  struct {
    unsigned version;
    int pid;
  } header = {0x20080522 /* _LINUX_CAPABILITY_VERSION_3 */, 0};
  const struct { unsigned effective, permitted, inheritable; } none[2] = {};
  Do(kPrctl, kAmbient, kClearAll);
  Do(kCapset, At(&header), At(none));
}

[[noreturn]] void Run(char** argv, char** envp, const Set& mask) {
  Do(kSigprocmask, kSetMask, At(&mask), 0, sizeof mask);
  // A command that outlived this root would not be seen, and could be started a second time.
  Do(kPrctl, kEndWithParent, 9 /* SIGKILL */);
  const Word error = Do(kExecve, At(argv[2]), At(argv + 3), At(envp));
  Text sentence;
  sentence.Add("criu-job-root: ");
  sentence.Add(argv[2]);
  sentence.Add(error == kNoEntry ? ": no such program" : ": cannot be executed: errno ");
  if (error != kNoEntry) sentence.Add(-error);
  sentence.Add("\n");
  Do(kWrite, 2, At(sentence.Get()), static_cast<Word>(sentence.GetLength()));
  Exit(error == kNoEntry ? kNotFound : kNotRun);
}

// Ends with the command.
[[noreturn]] void Finish(const char* path, int status) {
  const Word signal = status & 0x7f;
  const Word code = (status >> 8) & 0xff;
  Text line;
  line.Add(signal == 0 ? "exited " : "killed ");
  line.Add(signal == 0 ? code : signal);
  line.Add("\n");
  LeaveAtLast(path, line);
  Exit(signal == 0 ? code : kEndedBySignal + signal);
}

// Waits for signals: all of them are blocked, so that each is kept between two calls.
[[noreturn]] void Keep(const char* path, Word command, const Set& all) {
  bool hung_up = false;
  for (;;) {
    int status = 0;
    Word ended;
    while ((ended = Do(kWait4, -1, At(&status), kNoHang, 0)) > 0) {
      if (ended != command) continue;
      // The process that held the terminal has ended. Whatever the command did about that, by
      // SIGHUP or because its input was over, the job was interrupted and has not finished.
      if (hung_up) Exit(kEndedBySignal + kSigHup);
      Finish(path, status);
    }
    // siginfo_t: three numbers first, si_signo, si_errno and si_code; 128 bytes.
    int info[32] = {};
    const Word signal = Do(kSigtimedwait, At(&all), At(info), 0, sizeof all);
    // A terminal's keys signal the whole process group, and the command is in it. The end of the
    // terminal is told to the leader of the session alone.
    if (info[2] == kByKernel && signal != kSigHup) continue;
    if (info[2] == kByKernel) hung_up = true;
    for (const Word passed : kPassedOn) {
      if (signal == passed) Do(kKill, command, signal);
    }
  }
}

}  // namespace

extern "C" [[noreturn]] void JobRoot(Word* stack) {
  const Word argc = stack[0];
  char** const argv = reinterpret_cast<char**>(stack + 1);
  char** const envp = argv + argc + 1;
  if (argc < 4) Exit(2);
  Set handled = Bit(kSigChld);
  for (const Word signal : kPassedOn) handled |= Bit(signal);
  Set before = 0;
  Do(kSigprocmask, kSetMask, At(&handled), At(&before), sizeof handled);
  if (Do(kGeteuid) != 0) DropCapabilities();
  // Its standard input may be a terminal. This process leads the session, and shares its process
  // group with the command, so that the terminal stops neither of them (an orphaned process group).
  Do(kIoctl, 0, kTakeTerminal, 0);
  // Orphans of the command stay in this tree, and so in its checkpoints.
  Do(kPrctl, kSubreaper, 1);
  // Where Yama restricts tracing (ptrace_scope 1), this job may be dumped nevertheless. Elsewhere
  // the kernel does not know the call.
  Do(kPrctl, kSetPtracer, -1);
  const Word command = Fork();
  if (command == 0) Run(argv, envp, before);
  if (command < 0) Exit(kNotRun);
  Keep(argv[1], command, handled);
}
