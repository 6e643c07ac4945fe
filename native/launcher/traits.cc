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

// The first version of the structure of sched_setattr(2), known to every kernel since 3.14.
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

// A /proc file with one number, which is copied without parsing.
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
  // A kernel that is built without the file lacks it for every process. A process that has gone
  // lacks it, too; RequireAlive() finds that before the values are used.
  if (fd == -1 && errno == ENOENT) return file;
  Require(fd != -1, step);
  const ssize_t size = ::read(fd, file.text, sizeof file.text);
  Require(size != -1, step);
  // An empty file: the caller has no memory any more and is about to end.
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

// Applies the changes of fork(2) (sched_fork of the kernel). With SCHED_RESET_ON_FORK the child is
// neither real-time nor favoured by nice, and does not have the flag itself.
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
    // SCHED_DEADLINE bandwidth cannot be granted twice, so such a process cannot fork.
    Fail(Step::kScheduler, EAGAIN, SCHED_DEADLINE);
  }
  attributes->size = sizeof *attributes;
  attributes->flags = 0;
  attributes->nice = *nice;
}

// Sets the privilege aside without giving it up: the saved ids stay 0. With the caller's ids
// prlimit(2) needs no CAP_SYS_RESOURCE. It reads only a process whose real, effective and saved ids
// are all the caller's at this moment, so a process that has executed su meanwhile is refused. The
// effective capabilities are empty, and come back with the uid. Meanwhile the caller can send
// signals and change priorities, which are set later. The caller cannot trace us, because the saved
// ids are root's.
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

// A pidfd is readable if its process has ended.
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
  // A caller without a login uid, and so its child, may set any login uid (audit_set_loginuid() of
  // the kernel). Acts of such an engine should be logged under the caller's own uid.
  if (Same(login_uid, Decimal(AUDIT_UID_UNSET))) login_uid = Decimal(caller.uid);
  ReadLimits(caller);

  // The caller is alive now, so the pid was the caller's during all reads above.
  RequireAlive();
  AsInherited(&scheduling, &nice_value);
}

void TakeTraits() {
  // Needs CAP_SYS_RESOURCE, if the caller's hard limit is above the service's. Nothing is lowered
  // yet: a limit that is meant for the engine (no new descriptor, no new process, no memory) would
  // stop us half-way. From here on the launcher uses only the mapped stack and static memory.
  for (int resource = 0; resource < kLimits; ++resource) {
    rlimit own{};
    Require(::prlimit(0, static_cast<__rlimit_resource>(resource), nullptr, &own) == 0,
            Step::kRaiseLimit, resource);
    if (own.rlim_max >= limits[resource].rlim_max) continue;
    own.rlim_max = limits[resource].rlim_max;
    SetOwnLimit(resource, own, Step::kRaiseLimit);
  }

  // Needs CAP_SYS_NICE, if the caller is favoured or real-time. Set nice first: sched_setattr(2)
  // sets it for the ordinary policies, but not for SCHED_IDLE and the real-time policies.
  Require(::setpriority(PRIO_PROCESS, 0, nice_value) == 0, Step::kNice, nice_value);
  Require(::syscall(SYS_sched_setattr, 0, &scheduling, 0U) == 0, Step::kScheduler,
          scheduling.policy);
  // Needs CAP_SYS_ADMIN or CAP_SYS_NICE for the real-time class. Without a class the kernel refuses
  // a level, although kernels before 5.18 report one.
  const int wanted = IOPRIO_PRIO_CLASS(io_priority) == IOPRIO_CLASS_NONE ? 0 : io_priority;
  Require(::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, wanted) == 0, Step::kIoPriority, wanted);
  // Skip a mask that is already ours: setting it would pin it, and leave out CPUs that come later.
  static unsigned char own_affinity[kAffinityBytes];
  const long bytes =
      ::syscall(SYS_sched_getaffinity, 0, sizeof own_affinity, static_cast<void*>(own_affinity));
  Require(bytes > 0, Step::kAffinity);
  if (std::memcmp(own_affinity, affinity, sizeof affinity) != 0) {
    Require(::syscall(SYS_sched_setaffinity, 0, affinity_size, static_cast<void*>(affinity)) == 0,
            Step::kAffinity);
  }

  // Our files in /proc belong to root, because we are not dumpable, so write them before we become
  // the caller. The filter is read in hexadecimal without 0x, and without the prefix would be
  // parsed as octal.
  if (coredump_filter.exists) {
    char hexadecimal[2 + sizeof coredump_filter.text] = {'0', 'x'};
    std::memcpy(hexadecimal + 2, coredump_filter.text, coredump_filter.size);
    WriteOwn("/proc/self/coredump_filter", hexadecimal, coredump_filter.size + 2,
             Step::kCoredumpFilter);
  }
  // With CAP_SYS_RESOURCE this value becomes the minimum for the engine and its children, too.
  if (oom_score.exists) {
    WriteOwn("/proc/self/oom_score_adj", oom_score.text, oom_score.size, Step::kOomScore);
  }
  // Each write of a login uid starts an audit session in the kernel. By that session the service
  // recognizes every descendant of this engine for ever (sweep.ts): fork and exec keep it, and a
  // process without CAP_AUDIT_CONTROL cannot leave it. So write the login uid even if it is
  // unchanged. The launcher needs that capability, too, unless its login uid is unset. If login
  // uids are immutable (auditctl --loginuid-immutable), an unset login uid can be set once, and a
  // service's login uid is unset. If the write fails, acts of the engine would be logged under
  // another user, so the launcher fails.
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
  // setresuid(2) marks a process whose new uid has more processes than its limit, not counting the
  // process itself. exec fails with EAGAIN for a marked process. fork(2) counts the child, so the
  // same limit is one less here. 0 needs no change: the caller itself is a process.
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
