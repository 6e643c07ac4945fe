// criu-engine-preload.so: loaded into each CRIU that runs as a confined engine.
//
// CRIU without root needs CAP_CHECKPOINT_RESTORE for some system calls, but has it in effect all
// the time, even while it opens each path that an image names. The caller controls the images and
// the files at these paths. With the capability in effect the kernel lets such an open follow
// /proc/PID/map_files, and look into every other engine of the same user. So this library keeps the
// capability permitted, and out of the effective set, except for the calls that need it:
//
//   clone3(2) with set_tid        the pid of a restored process
//   the restorer                  the pids of threads, and prctl(PR_SET_MM): machine code without
//                                 libc. Before CRIU jumps there, and after the last path was
//                                 opened, it calls umask(2) (restore_fs in files.c)
//   ioctl(2), TIOCSLCKTRMIOS      the locked settings of a terminal (Linux 6.8)
//   openat(2) of map_files/A-B    in the process that dumps; the name is CRIU's own
//   openat(2) of fd/N             in a process that is restored, for memory that it shares with
//                                 another process of its tree (shmem.c); the name is CRIU's own
//
// The other things that this library does:
//   - An engine stays not dumpable, so that the user's processes and the user's other engines
//     cannot trace it or open anything in its /proc/PID. A restored process is dumpable, because
//     CRIU's own ptrace(2) needs that. Every other child is dumpable and has lost the capability.
//   - Programs that CRIU executes inherit nothing: the capability leaves the ambient and the
//     inheritable set.
//   - A process that is being restored runs no code from its image while it holds the capability.
//     Its signal handlers are installed by then, so all signals are blocked. A restartable sequence
//     that another process can write makes the process exit (sequences.h).
//   - The tree that is being restored ends with its engine (PTRACE_O_EXITKILL). So a caller that
//     kills the engine never gets an unverified process that runs.
//   - An engine gives up the capability before it detaches from the first restored thread.
//   - A process without supplementary groups is not restored with those of the engine.
//   - CRIU opens clear_refs, by which it tracks memory, for writing only: the file has no right to
//     read, and CRIU never reads it (do_task_reset_dirty_track in mem.c, up to 4.2).
//     criu-kerndat.service, where CRIU finds out whether the kernel tracks, loads the library for
//     this.
//   - Before a failing reply, error lines of CRIU's log go to standard error (last_words.h).
//
// This library keeps CRIU from acting for the user beyond the user's rights. It is no wall against
// the user's code inside CRIU, which could undo all of this. CRIU's functions are named as of 3.18
// to 4.2.
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../launcher/protocol.h"
#include "last_words.h"
#include "sequences.h"

namespace {

using criu_service::launcher::Answer;
using criu_service::launcher::Kind;
using criu_service::launcher::Step;

#ifndef CAP_CHECKPOINT_RESTORE
#define CAP_CHECKPOINT_RESTORE 40  // Linux 5.9
#endif

constexpr unsigned kHalf = CAP_CHECKPOINT_RESTORE / 32;
constexpr uint32_t kBit = uint32_t{1} << (CAP_CHECKPOINT_RESTORE % 32);

struct Sets {
  __user_cap_data_struct halves[_LINUX_CAPABILITY_U32S_3];
};

// The capability sets of this process outside of the calls that need the capability (asleep) and
// during them (awake), and those of a process without such calls (none).
Sets asleep;
Sets awake;
Sets none;

// The role of the process with this memory. A process that shares the engine's memory (CLONE_VM)
// counts as the engine: it has its own credentials, and must not change shared variables.
enum class Role {
  kNone,  // Not run by the launcher.
  kEngine,
  kRestored,  // Made with a pid of the engine's choice.
  kHelper,    // Any other child of either.
};
Role role = Role::kNone;
pid_t engine = 0;

// The engine's own pagemap, opened while the engine was still dumpable. CRIU opens it when it
// collects facts about the kernel (kerndat.c). A process that is not dumpable can read CRIU's other
// own files in /proc.
int own_pagemap = -1;
// The same for its own clear_refs.
int own_clear_refs = -1;

// The restartable sequences and mappings that CRIU has read from the images.
criu_service::engine_preload::Sequences sequences;

// True after the engine has made a process with a pid of its choice: the engine restores, and
// traces the processes that it makes.
bool restores = false;

using Syscall = long (*)(long, ...);
using Ptrace = long (*)(int, ...);
using CloneFunction = int (*)(void*);
using Clone = int (*)(CloneFunction, void*, int, void*, ...);
using Fork = pid_t (*)();
using Unpack = void* (*)(const void*, void*, size_t, const uint8_t*);

// libc's own function, looked up at its first use: constructors of other libraries run earlier and
// call functions that are replaced here.
template <typename Function>
Function Libc(Function* found, const char* name) {
  if (*found == nullptr) *found = reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
  if (*found == nullptr) ::_exit(1);
  return *found;
}

Ptrace LibcPtrace() {
  static Ptrace found = nullptr;
  return Libc(&found, "ptrace");
}

Clone LibcClone() {
  static Clone found = nullptr;
  return Libc(&found, "clone");
}

Fork LibcFork() {
  static Fork found = nullptr;
  return Libc(&found, "fork");
}

Syscall LibcSyscall() {
  static Syscall found = nullptr;
  return Libc(&found, "syscall");
}

template <typename... Words>
long Call(long number, Words... words) {
  return LibcSyscall()(number, words...);
}

using criu_service::engine_preload::LastWords;
LastWords last_words;

// Exits without any handler, because the process holds rights that it must not use.
[[noreturn]] void GiveUp() {
  for (;;) ::_exit(1);
}

void SetCapabilities(const Sets& sets) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const int before = errno;
  if (Call(SYS_capset, &header, static_cast<const void*>(sets.halves)) != 0) GiveUp();
  errno = before;
}

Sets GetCapabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  Sets sets{};
  if (Call(SYS_capget, &header, static_cast<void*>(sets.halves)) != 0) GiveUp();
  return sets;
}

// Keeps the capability in effect until the end of the scope.
class Awake {
 public:
  explicit Awake(bool needed) : needed_(needed) {
    if (needed_) SetCapabilities(awake);
  }
  ~Awake() {
    if (needed_) SetCapabilities(asleep);
  }
  Awake(const Awake&) = delete;
  Awake& operator=(const Awake&) = delete;

 private:
  bool needed_;
};

const char* SkipPrefix(const char* text, const char* prefix) {
  const size_t length = std::strlen(prefix);
  return std::strncmp(text, prefix, length) == 0 ? text + length : nullptr;
}

// Skips characters in `digits`. Returns the text behind them, or nullptr if there are none.
const char* SkipDigits(const char* text, const char* digits) {
  const size_t length = std::strspn(text, digits);
  return length > 0 ? text + length : nullptr;
}

constexpr char kDecimal[] = "0123456789";
constexpr char kHexadecimal[] = "0123456789abcdef";

// fd/N
bool IsDescriptorName(const char* path) {
  path = SkipPrefix(path, "fd/");
  if (path != nullptr) path = SkipDigits(path, kDecimal);
  return path != nullptr && *path == '\0';
}

// A-B, or map_files/A-B
bool IsMappingName(const char* path) {
  if (const char* name = SkipPrefix(path, "map_files/")) path = name;
  path = SkipDigits(path, kHexadecimal);
  if (path == nullptr || *path != '-') return false;
  path = SkipDigits(path + 1, kHexadecimal);
  return path != nullptr && *path == '\0';
}

bool IsOnProc(int directory) {
  struct statfs file_system {};
  return Call(SYS_fstatfs, directory, &file_system) == 0 && file_system.f_type == PROC_SUPER_MAGIC;
}

// True for the engine's own directory in /proc.
bool IsOwn(int directory) {
  char link[32];
  char expected[32];
  char path[32];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
  const int length = std::snprintf(expected, sizeof expected, "/proc/%d", static_cast<int>(engine));
  const int before = errno;
  const long found = Call(SYS_readlinkat, AT_FDCWD, link, path, sizeof path);
  errno = before;
  return found == length && std::memcmp(path, expected, static_cast<size_t>(length)) == 0;
}

// True for a name that CRIU itself has made below a directory of /proc. A name from an image is
// looked up from the root directory, or from the images directory.
bool NeedsCapability(int directory, const char* path) {
  if (directory < 0 || path == nullptr) return false;
  const bool is_own_name = (role == Role::kEngine && IsMappingName(path)) ||
                           (role == Role::kRestored && IsDescriptorName(path));
  const int before = errno;
  const bool needs = is_own_name && IsOnProc(directory);
  errno = before;
  return needs;
}

// A helper of the engine opens the directories of the request as /proc/ENGINE/fd/NUMBER
// (setup_opts_from_req in cr-service.c), but may not look into the engine. It has inherited the
// descriptors, so its own /proc/self/fd/NUMBER is the same.
class OwnPath {
 public:
  explicit OwnPath(const char* path) : path_(path) {
    char theirs[32];
    std::snprintf(theirs, sizeof theirs, "/proc/%d/fd/", static_cast<int>(engine));
    const bool is_asked_for = path != nullptr && (role == Role::kEngine || role == Role::kHelper);
    const char* number = is_asked_for ? SkipPrefix(path, theirs) : nullptr;
    if (number == nullptr) return;
    const char* end = SkipDigits(number, kDecimal);
    if (end == nullptr || *end != '\0' || end - number > 10) return;
    std::snprintf(own_, sizeof own_, "/proc/self/fd/%s", number);
    path_ = own_;
  }
  const char* Get() const { return path_; }

 private:
  const char* path_;
  char own_[32] = {};
};

// If the variable is absent, the process is no engine but a program that an engine executes.
const char* TakeVariable(const char* name) {
  static char value[16];
  const char* text = std::getenv(name);
  if (text == nullptr || std::strlen(text) >= sizeof value) return nullptr;
  std::memcpy(value, text, std::strlen(text) + 1);
  ::unsetenv(name);
  return value;
}

void PrepareSets(const char* kind) {
  Sets held = GetCapabilities();
  __user_cap_data_struct& half = held.halves[kHalf];
  const bool is_callers = std::strcmp(kind, "callers") == 0;
  if (!is_callers) {
    half.inheritable &= ~kBit;
    if (Call(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, CAP_CHECKPOINT_RESTORE, 0, 0) != 0) {
      GiveUp();
    }
  }
  none = held;
  if (!is_callers) none.halves[kHalf].permitted &= ~kBit;
  none.halves[kHalf].effective &= ~kBit;
  if (std::strcmp(kind, "none") == 0) held = none;
  awake = held;
  awake.halves[kHalf].effective = (half.effective | kBit) & half.permitted;
  asleep = held;
#ifndef TEST_WITHOUT_SLEEP
  asleep.halves[kHalf].effective &= ~kBit;
#else
  asleep = awake;
#endif
  SetCapabilities(asleep);
}

// Runs before CRIU's main(). The service sends a request only after the report at the end.
__attribute__((constructor)) void Begin() {
  LibcPtrace();
  LibcClone();
  LibcFork();
  const char* connection = TakeVariable(criu_service::launcher::kReadyVariable);
  if (connection == nullptr) return;
  const int control = std::atoi(connection);  // NOLINT(cert-err34-c): the launcher wrote it.
  const char* kind = TakeVariable(criu_service::launcher::kCapabilityVariable);
  ::unsetenv("LD_PRELOAD");
  if (kind == nullptr) GiveUp();
  engine = static_cast<pid_t>(Call(SYS_getpid));
  role = Role::kEngine;
  last_words.Begin(LibcSyscall());
  PrepareSets(kind);
  own_pagemap =
      static_cast<int>(Call(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  own_clear_refs =
      static_cast<int>(Call(SYS_openat, AT_FDCWD, "/proc/self/clear_refs", O_WRONLY | O_CLOEXEC));
#ifndef TEST_DUMPABLE
  if (Call(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) GiveUp();
#endif
  const Answer guarded{criu_service::launcher::kMagic,
                       criu_service::launcher::kVersion,
                       Kind::kGuarded,
                       Step::kNone,
                       0,
                       -1,
                       -1,
                       -1,
                       0};
  if (Call(SYS_write, control, &guarded, sizeof guarded) != static_cast<long>(sizeof guarded)) {
    GiveUp();
  }
  // In a hand-over the caller's connection has the next number, and takes the place of `control`.
  const bool hand_over = control == criu_service::launcher::kEngineSocketFd;
  const int used_up = hand_over ? control + 1 : control;
  if (hand_over && Call(SYS_dup3, used_up, control, 0) != control) GiveUp();
  if (Call(SYS_close, used_up) != 0) GiveUp();
}

// The kernel requires a dumpable process when the engine traces this process, and when processes of
// a tree that is being restored open their shared memory.
void MakeDumpable() {
  if (Call(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) GiveUp();
}

// libc reserves these two signals, and never blocks them.
constexpr uint64_t kLibcSignals = uint64_t{0b11} << (32 - 1);

int SetSignalMask(int how, const uint64_t* set, uint64_t* before) {
  return static_cast<int>(Call(SYS_rt_sigprocmask, how, set, before, sizeof *set));
}

// A child's user may look into it, and has no use for the engine's own files.
void CloseOwnFiles() {
  for (int* file : {&own_pagemap, &own_clear_refs}) {
    if (*file != -1) Call(SYS_close, *file);
    *file = -1;
  }
}

void BeginRestored() {
  role = Role::kRestored;
  CloseOwnFiles();
#ifndef TEST_LED
  if (SetSignalMask(SIG_BLOCK, &kLibcSignals, nullptr) != 0) GiveUp();
#endif
  sequences.KeepOnly(static_cast<int>(Call(SYS_getpid)));
  MakeDumpable();
}

// A child without a pid of the engine's choice is no process of a restored tree. CRIU tries out
// features of the kernel on it, or has it work on a request (PRE_DUMP, PAGE_SERVER). It needs no
// capability, and is dumpable because the engine looks into some of these children.
void BeginHelper() {
  role = Role::kHelper;
  CloseOwnFiles();
  SetCapabilities(none);
  MakeDumpable();
}

// Helpers hold no capability that they could give to their children.
bool GivesCapability() { return role == Role::kEngine || role == Role::kRestored; }

// clone_args of linux/sched.h, whose size depends on the header's age.
struct CloneArguments {
  uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
  uint64_t set_tid, set_tid_size;
};

// True if the system call makes a process with memory of its own. `chooses_pid`: with a chosen pid.
bool MakesProcess(long number, const long* words, bool* chooses_pid) {
  *chooses_pid = false;
  if (number == SYS_clone) return (words[0] & CLONE_VM) == 0;
  if (number != SYS_clone3 || words[0] == 0) return false;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the words of a system call are numbers or pointers.
  const auto* arguments = reinterpret_cast<const CloneArguments*>(words[0]);
  *chooses_pid = words[1] >= static_cast<long>(sizeof *arguments) && arguments->set_tid_size > 0;
  return words[1] >= static_cast<long>(sizeof arguments->flags) &&
         (arguments->flags & CLONE_VM) == 0;
}

// The arguments of clone(3) for the child, which has a copy of this memory.
struct {
  CloneFunction function;
  void* argument;
} cloned;

int BeginCloned(void* /*argument*/) {
  BeginHelper();
  return cloned.function(cloned.argument);
}

// Runs once in an engine that restores; all its children inherit the result.
void LookWhetherKernelClears() {
  static bool is_known = false;
  if (is_known) return;
  is_known = true;
  const bool clears = criu_service::engine_preload::KernelClearsAreas(LibcClone());
  sequences.SetKernelClears(clears);
  if (clears) return;
  // The journal shows an engine's stderr, and so does the reply if CRIU gives no reason.
  static constexpr char kWhy[] =
      "criu-service: This kernel does not clear restartable sequences (rseq) when they are "
      "registered: no "
      "process "
      "that has one is restored for a user without root. Linux 6.12.31, 6.14.9 and 6.15 do\n";
  Call(SYS_write, STDERR_FILENO, static_cast<const char*>(kWhy), sizeof kWhy - 1);
}

// CRIU leaves the groups of a process alone if its image has none (rst_prep_creds_args in
// cr-restore.c): the process would keep those of the engine, which are its user's.
bool HasGroups(const criu_service::engine_preload::Message& core) {
  const criu_service::engine_preload::Message credentials =
      core.Child("thread_core").Child("creds");
  return !credentials || credentials.Count("groups") > 0 || Call(SYS_getgroups, 0, nullptr) <= 0;
}

void TellAboutGroups() {
  static constexpr char kWhy[] =
      "criu-service: The images are of a process without supplementary groups, and only root could "
      "restore it "
      "without yours: ask from a process that has none\n";
  Call(SYS_write, STDERR_FILENO, static_cast<const char*>(kWhy), sizeof kWhy - 1);
}

// A restored process that its user has moved out of its frozen cgroup runs from here on, so the
// engine gives up the capability first.
void LetGoOfCapability() {
#if !defined(TEST_WITHOUT_SLEEP) || !defined(TEST_DUMPABLE)
  awake = none;
  asleep = none;
  SetCapabilities(none);
#endif
}

}  // namespace

// Each of the following functions replaces the libc function of the same name in CRIU.
#define OF_LIBC extern "C" __attribute__((visibility("default")))

OF_LIBC long syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  long words[6];
  for (long& word : words) word = va_arg(list, long);
  va_end(list);
  bool chooses_pid = false;
  const bool makes_process = GivesCapability() && MakesProcess(number, words, &chooses_pid);
  if (makes_process && chooses_pid && role == Role::kEngine) LookWhetherKernelClears();
  long result = 0;
  {
    const Awake now(makes_process && chooses_pid);
    result = Call(number, words[0], words[1], words[2], words[3], words[4], words[5]);
  }
  if (makes_process && result == 0) chooses_pid ? BeginRestored() : BeginHelper();
  if (makes_process && result > 0 && chooses_pid) {
    sequences.Leave(static_cast<int>(result));
    if (role == Role::kEngine) restores = true;
  }
  return result;
}

OF_LIBC int clone(int (*function)(void*), void* stack, int flags, void* argument, ...) noexcept {
  va_list list;
  va_start(list, argument);
  void* words[3];
  for (void*& word : words) word = va_arg(list, void*);
  va_end(list);
  if (!GivesCapability() || (flags & CLONE_VM) != 0) {
    return LibcClone()(function, stack, flags, argument, words[0], words[1], words[2]);
  }
  cloned = {function, argument};
  return LibcClone()(BeginCloned, stack, flags, nullptr, words[0], words[1], words[2]);
}

OF_LIBC pid_t fork() noexcept {
  const pid_t child = LibcFork()();
  if (child == 0 && GivesCapability()) BeginHelper();
  return child;
}

// CRIU blocks all signals but SIGCHLD before it restores the handlers of a process. libc would
// leave out its own two signals.
OF_LIBC int sigprocmask(int how, const sigset_t* set, sigset_t* before) noexcept {
  uint64_t mask = 0;
  static_assert(sizeof mask <= sizeof *set);
  if (set != nullptr) std::memcpy(&mask, set, sizeof mask);
  const bool is_kept = role == Role::kRestored && how != SIG_UNBLOCK;
  mask = is_kept ? mask | kLibcSignals : mask & ~kLibcSignals;
#ifdef TEST_LED
  mask &= ~kLibcSignals;
#endif
  uint64_t old = 0;
  const int result = SetSignalMask(how, set == nullptr ? nullptr : &mask, &old);
  if (result == 0 && before != nullptr) {
    std::memset(before, 0, sizeof *before);
    std::memcpy(before, &old, sizeof old);
  }
  return result;
}

OF_LIBC mode_t umask(mode_t mask) {
  const auto before = static_cast<mode_t>(Call(SYS_umask, mask));
  if (role == Role::kRestored) {
#ifndef TEST_LED
    if (!sequences.ArePrivate(static_cast<int>(Call(SYS_getpid)))) GiveUp();
#endif
    SetCapabilities(awake);
  }
  return before;
}

// CRIU reads each entry of an image with this function of libprotobuf-c.
OF_LIBC void* protobuf_c_message_unpack(const void* descriptor, void* allocator, size_t size,
                                        const uint8_t* data) {
  static Unpack found = nullptr;
  void* message = Libc(&found, "protobuf_c_message_unpack")(descriptor, allocator, size, data);
  if (message == nullptr || !GivesCapability()) return message;
  if (!sequences.Read(descriptor, message)) GiveUp();
  const criu_service::engine_preload::Message entry(descriptor, message);
  if (entry.Is("core_entry") && !HasGroups(entry)) {
    TellAboutGroups();
    return nullptr;
  }
  return message;
}

// True for flags with which open(2) takes a mode.
constexpr bool HasMode(int flags) {
  return (flags & O_CREAT) != 0 || (flags & __O_TMPFILE) == __O_TMPFILE;
}

OF_LIBC int openat64(int directory, const char* path, int flags, ...) {
  mode_t mode = 0;
  if (HasMode(flags)) {
    va_list list;
    va_start(list, flags);
    mode = va_arg(list, mode_t);
    va_end(list);
  }
  if (GivesCapability()) sequences.Open(path);
  const bool tracks =
      flags == O_RDWR && std::strcmp(path, "clear_refs") == 0 && IsOnProc(directory);
  if (tracks) flags = O_WRONLY;
  const Awake now(NeedsCapability(directory, path));
  const auto fd = static_cast<int>(Call(SYS_openat, directory, path, flags | O_LARGEFILE, mode));
  if (fd != -1 || errno != EACCES || role != Role::kEngine || !IsOwn(directory)) return fd;
  const bool reads_pages = flags == O_RDONLY && std::strcmp(path, "pagemap") == 0;
  const int own = tracks ? own_clear_refs : reads_pages ? own_pagemap : -1;
  return own == -1 ? fd : static_cast<int>(Call(SYS_fcntl, own, F_DUPFD, 0));
}

OF_LIBC int openat(int directory, const char* path, int flags, ...)
    __attribute__((alias("openat64")));

OF_LIBC int open64(const char* path, int flags, ...) {
  mode_t mode = 0;
  if (HasMode(flags)) {
    va_list list;
    va_start(list, flags);
    mode = va_arg(list, mode_t);
    va_end(list);
  }
  const OwnPath own(path);
  const auto fd =
      static_cast<int>(Call(SYS_openat, AT_FDCWD, own.Get(), flags | O_LARGEFILE, mode));
  if ((role == Role::kEngine || role == Role::kHelper) && LastWords::OpensLog(flags)) {
    const int failure = errno;
    last_words.Open(path, fd >= 0, failure);
    errno = failure;
  }
  return fd;
}

OF_LIBC int open(const char* path, int flags, ...) __attribute__((alias("open64")));

// The same functions for a CRIU that was compiled with _FORTIFY_SOURCE.
// NOLINTBEGIN(bugprone-reserved-identifier)
OF_LIBC int __openat64_2(int directory, const char* path, int flags) {
  return openat64(directory, path, flags);
}

OF_LIBC int __openat_2(int directory, const char* path, int flags)
    __attribute__((alias("__openat64_2")));

OF_LIBC int __open64_2(const char* path, int flags) { return open64(path, flags); }

OF_LIBC int __open_2(const char* path, int flags) __attribute__((alias("__open64_2")));

OF_LIBC ssize_t __readlink_chk(const char* path, char* text, size_t size, size_t room) {
  if (size > room) std::abort();
  return readlink(path, text, size);
}
// NOLINTEND(bugprone-reserved-identifier)

// CRIU sends its replies with write(2) (send_criu_msg in cr-service.c).
OF_LIBC ssize_t write(int fd, const void* data, size_t size) {
  if (fd == criu_service::launcher::kEngineSocketFd && role != Role::kNone &&
      LastWords::IsFailure(data, size)) {
    last_words.Repeat();
  }
  return Call(SYS_write, fd, data, size);
}

OF_LIBC int chdir(const char* path) noexcept {
  const OwnPath own(path);
  return static_cast<int>(Call(SYS_chdir, own.Get()));
}

OF_LIBC ssize_t readlink(const char* path, char* text, size_t size) noexcept {
  const OwnPath own(path);
  return Call(SYS_readlinkat, AT_FDCWD, own.Get(), text, size);
}

OF_LIBC int fstatat64(int directory, const char* path, struct stat64* file, int flags) noexcept {
  const Awake now(NeedsCapability(directory, path));
  return static_cast<int>(Call(SYS_newfstatat, directory, path, file, flags));
}

OF_LIBC int fstatat(int directory, const char* path, struct stat* file, int flags) noexcept {
  static_assert(sizeof(struct stat) == sizeof(struct stat64));
  return fstatat64(directory, path, reinterpret_cast<struct stat64*>(file), flags);
}

OF_LIBC int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list list;
  va_start(list, request);
  const auto argument = va_arg(list, long);
  va_end(list);
  const Awake now(GivesCapability() && request == TIOCSLCKTRMIOS);
  return static_cast<int>(Call(SYS_ioctl, fd, request, argument));
}

static bool IsOwnVersion3(cap_user_header_t header) {
  return header->version == _LINUX_CAPABILITY_VERSION_3 &&
         (header->pid == 0 || header->pid == Call(SYS_getpid));
}

// CRIU checks here that it has the capability (set_opts_cap_eff in util.c).
OF_LIBC int capget(cap_user_header_t header, cap_user_data_t data) {
  const auto result = static_cast<int>(Call(SYS_capget, header, data));
  if (role != Role::kNone && result == 0 && data != nullptr && IsOwnVersion3(header)) {
    data[kHalf].effective |= kBit;
  }
  return result;
}

// CRIU makes all permitted capabilities effective before it links a file that has lost its name,
// and leaves them effective (linkat_hard in files-reg.c).
OF_LIBC int capset(cap_user_header_t header, const cap_user_data_t data) {
  if (role == Role::kNone || data == nullptr || !IsOwnVersion3(header)) {
    return static_cast<int>(Call(SYS_capset, header, data));
  }
  Sets sets{};
  std::memcpy(sets.halves, data, sizeof sets.halves);
#ifndef TEST_WITHOUT_SLEEP
  sets.halves[kHalf].effective &= ~kBit;
#endif
  return static_cast<int>(Call(SYS_capset, header, static_cast<void*>(sets.halves)));
}

// CRIU makes itself dumpable to read its own /proc/self (check_caps in cr-check.c, linkat_hard in
// files-reg.c). The kernel lets it read these files without that.
OF_LIBC int prctl(int option, ...) {
  va_list list;
  va_start(list, option);
  long words[4];
  for (long& word : words) word = va_arg(list, long);
  va_end(list);
#ifndef TEST_DUMPABLE
  if (option == PR_SET_DUMPABLE && role == Role::kEngine) return 0;
#endif
  return static_cast<int>(Call(SYS_prctl, option, words[0], words[1], words[2], words[3]));
}

OF_LIBC long ptrace(__ptrace_request request, ...) {
  va_list list;
  va_start(list, request);
  const auto pid = va_arg(list, long);
  const auto address = va_arg(list, long);
  auto data = va_arg(list, long);
  va_end(list);
  if (restores && role == Role::kEngine) {
    if (request == PTRACE_SEIZE || request == PTRACE_SETOPTIONS) data |= PTRACE_O_EXITKILL;
    if (request == PTRACE_DETACH) LetGoOfCapability();
  }
  return LibcPtrace()(request, pid, address, data);
}
