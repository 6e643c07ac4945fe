#include "traits.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/ioprio.h>
#include <linux/sched.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "report.h"

namespace criu_service::launcher {
namespace {

static_assert(sizeof(rlim_t) == 8, "limits are 64 bits wide");

// sched_setattr(2), the first version of it: what every kernel since 3.14 knows.
struct SchedAttributes {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime;
  uint64_t deadline;
  uint64_t period;
};
static_assert(sizeof(SchedAttributes) == 48);

constexpr int kNeutralNice = 0;
constexpr int kLimits = RLIM_NLIMITS;
constexpr size_t kAffinityBytes = 8192 / 8;  // The most CPUs that a kernel is built for.

// A /proc file that holds one number, copied and not understood.
struct NumberFile {
  char text[24];
  size_t size;
  bool exists;
};

int nice_value;
SchedAttributes scheduling;
int io_priority;
alignas(long) unsigned char affinity[kAffinityBytes];
size_t affinity_size;
NumberFile coredump_filter;
NumberFile oom_score;
NumberFile login_uid;
rlimit limits[kLimits];

NumberFile ReadNumber(int directory, const char* name, Step step) {
  NumberFile file{};
  const int fd = ::openat(directory, name, O_RDONLY | O_CLOEXEC);
  // A kernel that is built without the file has it for nobody. A process that has gone has none
  // either, which is found out before anything is done with it.
  if (fd == -1 && errno == ENOENT) return file;
  Require(fd != -1, step);
  const ssize_t size = ::read(fd, file.text, sizeof file.text);
  Require(size != -1, step);
  // Nothing to read: the caller has no memory any more, it is about to end.
  if (size == 0 || size == sizeof file.text) Fail(step, ESRCH, size);
  ::close(fd);
  file.size = static_cast<size_t>(size);
  file.exists = true;
  return file;
}

NumberFile Decimal(unsigned number) {
  NumberFile file{};
  char digits[sizeof file.text];
  do {
    digits[file.size++] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  for (size_t at = 0; at < file.size; ++at) file.text[at] = digits[file.size - 1 - at];
  file.exists = true;
  return file;
}

bool Same(const NumberFile& one, const NumberFile& other) {
  return one.size == other.size && std::memcmp(one.text, other.text, one.size) == 0;
}

void WriteOwn(const char* path, const char* text, size_t size, Step step) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  Require(fd != -1, step);
  Require(::write(fd, text, size) == static_cast<ssize_t>(size), step);
  ::close(fd);
}

// What fork(2) makes of it (sched_fork of the kernel): SCHED_RESET_ON_FORK is for the child, which
// is not real-time then, nor favoured by nice, and does not have the flag itself.
void AsInherited(SchedAttributes* attributes, int* nice) {
  const bool real_time = attributes->policy == SCHED_FIFO || attributes->policy == SCHED_RR ||
                         attributes->policy == SCHED_DEADLINE;
  const bool resets = (attributes->flags & SCHED_FLAG_RESET_ON_FORK) != 0;
  if (resets && real_time) {
    *attributes = {};
    *nice = kNeutralNice;
  } else if (resets && *nice < kNeutralNice) {
    *nice = kNeutralNice;
  } else if (attributes->policy == SCHED_DEADLINE) {
    // Its bandwidth cannot be had twice: it cannot fork.
    Fail(Step::kScheduler, EAGAIN, SCHED_DEADLINE);
  }
  attributes->size = sizeof *attributes;
  attributes->flags = 0;
  attributes->nice = *nice;
}

// The privilege is set aside, not given up: saved ids stay 0. With the caller's ids prlimit(2)
// needs no CAP_SYS_RESOURCE, and reads only a process whose real, effective and saved ids are all
// the caller's at this moment: not one that has executed su meanwhile. The effective capabilities
// are empty, and come back with the uid. What the caller can do to us meanwhile is to send signals
// and to change priorities, which are set later; not to trace us, the saved ids are root's.
void ReadLimits(const Parameters& caller) {
  Require(::setresgid(caller.gid, caller.gid, 0) == 0, Step::kGid);
  Require(::setresuid(caller.uid, caller.uid, 0) == 0, Step::kUid);
  for (int resource = 0; resource < kLimits; ++resource) {
    Require(::prlimit(caller.pid, static_cast<__rlimit_resource>(resource), nullptr,
                      &limits[resource]) == 0,
            Step::kReadLimit, resource);
  }
  Require(::setresuid(0, 0, 0) == 0, Step::kUid);
  Require(::setresgid(0, 0, 0) == 0, Step::kGid);
}

// Readable is a pidfd whose process has ended.
void RequireAlive() {
  pollfd caller{kCallerPidfd, POLLIN, 0};
  Require(::poll(&caller, 1, 0) != -1, Step::kCallerGone);
  if (caller.revents != 0) Fail(Step::kCallerGone, ESRCH);
}

void SetOwnLimit(int resource, const rlimit& limit, Step step) {
  Require(::prlimit(0, static_cast<__rlimit_resource>(resource), &limit, nullptr) == 0, step,
          resource);
}

}  // namespace

void ReadTraits(const Parameters& caller) {
  RequireAlive();
  const auto who = static_cast<id_t>(caller.pid);
  errno = 0;  // -1 is a nice value too, see getpriority(2).
  nice_value = ::getpriority(PRIO_PROCESS, who);
  Require(errno == 0, Step::kNice);
  Require(::syscall(SYS_sched_getattr, caller.pid, &scheduling, sizeof scheduling, 0U) == 0,
          Step::kScheduler);
  io_priority = static_cast<int>(::syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, caller.pid));
  Require(io_priority != -1, Step::kIoPriority);
  const long bytes =
      ::syscall(SYS_sched_getaffinity, caller.pid, sizeof affinity, static_cast<void*>(affinity));
  Require(bytes > 0, Step::kAffinity);
  affinity_size = static_cast<size_t>(bytes);
  coredump_filter = ReadNumber(kCallerProcFd, "coredump_filter", Step::kCoredumpFilter);
  oom_score = ReadNumber(kCallerProcFd, "oom_score_adj", Step::kOomScore);
  login_uid = ReadNumber(kCallerProcFd, "loginuid", Step::kLoginUid);
  // A caller without one, and so a child of it, may have any that it likes (audit_set_loginuid() of
  // the kernel). Its own is what such an engine's acts should be logged as.
  if (Same(login_uid, Decimal(AUDIT_UID_UNSET))) login_uid = Decimal(caller.uid);
  ReadLimits(caller);

  // Alive now means that the pid was nobody else's above.
  RequireAlive();
  AsInherited(&scheduling, &nice_value);
}

void TakeTraits() {
  // CAP_SYS_RESOURCE, and only where the caller has more than the service. Nothing is lowered yet:
  // a limit that is meant for the engine (no new descriptor, no new process, no memory) would stop
  // us half-way. Not from here on: the stack that is mapped and static memory is all we use.
  for (int resource = 0; resource < kLimits; ++resource) {
    rlimit own{};
    Require(::prlimit(0, static_cast<__rlimit_resource>(resource), nullptr, &own) == 0,
            Step::kRaiseLimit, resource);
    if (own.rlim_max >= limits[resource].rlim_max) continue;
    own.rlim_max = limits[resource].rlim_max;
    SetOwnLimit(resource, own, Step::kRaiseLimit);
  }

  // CAP_SYS_NICE: to be favoured or real-time, as the caller is. Nice first: the call for the
  // policy sets it for the ordinary policies, but not for SCHED_IDLE and the real-time ones.
  Require(::setpriority(PRIO_PROCESS, 0, nice_value) == 0, Step::kNice, nice_value);
  Require(::syscall(SYS_sched_setattr, 0, &scheduling, 0U) == 0, Step::kScheduler,
          scheduling.policy);
  // CAP_SYS_ADMIN or CAP_SYS_NICE for the real-time class. Without a class the level says nothing,
  // and is refused; kernels before 5.18 report one all the same.
  const int wanted = IOPRIO_PRIO_CLASS(io_priority) == IOPRIO_CLASS_NONE ? 0 : io_priority;
  Require(::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, wanted) == 0, Step::kIoPriority, wanted);
  // A mask that is ours already is not set: it would be pinned, and miss CPUs that come later.
  static unsigned char own_affinity[kAffinityBytes];
  const long bytes =
      ::syscall(SYS_sched_getaffinity, 0, sizeof own_affinity, static_cast<void*>(own_affinity));
  Require(bytes > 0, Step::kAffinity);
  if (std::memcmp(own_affinity, affinity, sizeof affinity) != 0) {
    Require(::syscall(SYS_sched_setaffinity, 0, affinity_size, static_cast<void*>(affinity)) == 0,
            Step::kAffinity);
  }

  // Our files in /proc are root's, because we are not dumpable: as the caller we could not write
  // them. The filter is read in hexadecimal without 0x, and would be taken for octal.
  if (coredump_filter.exists) {
    char hexadecimal[2 + sizeof coredump_filter.text] = {'0', 'x'};
    std::memcpy(hexadecimal + 2, coredump_filter.text, coredump_filter.size);
    WriteOwn("/proc/self/coredump_filter", hexadecimal, coredump_filter.size + 2,
             Step::kCoredumpFilter);
  }
  // With CAP_SYS_RESOURCE this is the lowest value for the engine and its children, too.
  if (oom_score.exists) {
    WriteOwn("/proc/self/oom_score_adj", oom_score.text, oom_score.size, Step::kOomScore);
  }
  // With each login uid that is written the kernel starts an audit session, by which the service
  // tells for ever what came out of this engine (sweep.ts): fork and exec keep it, and who lacks
  // CAP_AUDIT_CONTROL cannot leave it. So it is written even where it is the same. We need that
  // capability, too, unless ours is unset. Where it is immutable (auditctl --loginuid-immutable) it
  // can be set once, and a service has none; if that fails, acts of the engine would be logged as
  // somebody else's, and so that is the end.
  const NumberFile own_uid = ReadNumber(AT_FDCWD, "/proc/self/loginuid", Step::kLoginUid);
  if (own_uid.exists != login_uid.exists) Fail(Step::kLoginUid, ENOENT);
  if (own_uid.exists) {
    const int fd = ::open("/proc/self/loginuid", O_WRONLY | O_CLOEXEC);
    Require(fd != -1, Step::kLoginUid);
    const bool written =
        ::write(fd, login_uid.text, login_uid.size) == static_cast<ssize_t>(login_uid.size);
    Require(written || (errno == EPERM && Same(own_uid, login_uid)), Step::kLoginUid);
    ::close(fd);
  }
}

void PrepareProcessLimit() {
  // setresuid(2) marks a process whose new uid has more processes than its limit, not counting
  // itself, and exec fails with EAGAIN for one that is marked. fork(2) counts the child. So one
  // less here makes it the same limit. 0 needs none: the caller itself is one.
  rlimit limit = limits[RLIMIT_NPROC];
  if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur > 0) --limit.rlim_cur;
  rlimit own{};
  Require(::getrlimit(RLIMIT_NPROC, &own) == 0, Step::kLimit, RLIMIT_NPROC);
  limit.rlim_max = own.rlim_max;
  SetOwnLimit(RLIMIT_NPROC, limit, Step::kLimit);
}

void TakeLimits() {
  for (int resource = 0; resource < kLimits; ++resource) {
    SetOwnLimit(resource, limits[resource], Step::kLimit);
  }
}

}  // namespace criu_service::launcher
