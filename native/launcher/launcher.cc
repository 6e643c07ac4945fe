// criu-launcher: started as root by the service, becomes the caller, executes CRIU.
//
// The engine must never hold more than an ordinary child of its caller would, plus
// CAP_CHECKPOINT_RESTORE. So this program does the work that fork(2) would have done for the
// caller. Each trait is copied or given up, and every call is checked. The first failing call ends
// the program with an answer that names the step (protocol.h). The program allocates nothing,
// parses only one packet of fixed layout, and has no alternative paths.

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>

#include "birth.h"
#include "clocks.h"
#include "files.h"
#include "identity.h"
#include "inherited.h"
#include "parameters.h"
#include "report.h"
#include "traits.h"

namespace criu_service::launcher {
namespace {

constexpr char kConfigVariable[] = "CRIU_CONFIG_FILE";
constexpr char kPreloadVariable[] = "LD_PRELOAD";

// The service has done all this in the child that it made. Doing it again costs seventy system
// calls and makes the launcher independent of that. The kernel's own structures are used, because
// glibc keeps two signals for itself.
void ResetSignalsAndFds() {
  const std::array<uint64_t, 8> by_default{};
  const uint64_t none = 0;
  for (int signal = 1; signal <= 64; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    Require(::syscall(SYS_rt_sigaction, signal, by_default.data(), nullptr, sizeof none) == 0,
            Step::kSelf);
  }
  Require(::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof none) == 0,
          Step::kSelf);
  Require(::close_range(kCgroupFd + 1, UINT_MAX, 0) == 0, Step::kSelf);
  MoveControl();
  for (const int fd : {0, 1, 2, int{kCallerPidfd}, int{kCallerProcFd}}) {
    Require(::fcntl(fd, F_GETFD) != -1, Step::kSelf, fd);
  }
  // /dev/null holds the numbers of descriptors that this request has no use for, so no file that we
  // open gets a number reserved for the engine.
  static_assert(int{kTimePidfd} <= int{kLastEngineFd});
  for (int fd = kCallerSocketFd; fd <= kLastEngineFd; ++fd) {
    if (::fcntl(fd, F_GETFD) != -1) continue;
    Require(::fcntl(0, F_DUPFD_CLOEXEC, fd) == fd, Step::kSelf, fd);
  }
}

struct EngineSocket {
  int engine;
  int service;  // -1: the engine has the caller's connection.
};

EngineSocket MakeSocket(bool hand_over) {
  if (hand_over) {
    int type = 0;
    socklen_t size = sizeof type;
    Require(::getsockopt(kCallerSocketFd, SOL_SOCKET, SO_TYPE, &type, &size) == 0, Step::kSocket);
    if (type != SOCK_SEQPACKET) Fail(Step::kSocket, EPROTOTYPE, type);
    return {kCallerSocketFd, -1};
  }
  // SO_PEERCRED of both ends is the maker of the pair at this moment. CRIU looks for the
  // descriptors that a request names in its peer's process, so the peer must be the engine itself.
  int ends[2];
  Require(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0, Step::kSocket);
  return {ends[0], ends[1]};
}

// NAME=VALUE. Static, because the caller's RLIMIT_STACK is ours by now.
template <size_t kSize>
char* Assign(char (&text)[kSize], const char* name, const char* value) {
  std::snprintf(text, sizeof text, "%s=%s", name, value);
  return text;
}

// Tells the library in the engine how to use CAP_CHECKPOINT_RESTORE (protocol.h).
const char* CapabilityOf(const Parameters& fixed) {
  if ((fixed.ambient & kCheckpointRestore) != 0) return "callers";
  return (fixed.flags & kNoCapability) != 0 ? "none" : "asleep";
}

[[noreturn]] void Execute(int criu, const Request& request, int control) {
  static char config[sizeof kConfigVariable + kMaxStringSize];
  static char preload[sizeof kPreloadVariable + kMaxStringSize];
  static char capability[64];
  static char ready[64];
  char number[16];
  std::snprintf(number, sizeof number, "%d", control);
  static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  static char name[] = "criu";
  static char verb[] = "swrk";
  static char socket[] = "3";
  static_assert(kEngineSocketFd == 3);
  char* const arguments[] = {name, verb, socket, nullptr};
  // The directory where criu-kerndat.service has cached the kernel's features, writable by root
  // only. CRIU without root looks for the cache there (kerndat.c), and uses the variable for
  // nothing else.
  static char kerndat[] = "XDG_RUNTIME_DIR=/run/criu-service";
  char* const environment[] = {path,
                               Assign(config, kConfigVariable, request.config),
                               kerndat,
                               Assign(preload, kPreloadVariable, request.preload),
                               Assign(capability, kCapabilityVariable, CapabilityOf(request.fixed)),
                               Assign(ready, kReadyVariable, number),
                               nullptr};
  ::execveat(criu, "", arguments, environment, AT_EMPTY_PATH);
  Fail(Step::kExecute, errno);
}

}  // namespace

[[noreturn]] void Run() {
  // State: root with every capability.
  CheckOwnIdentity();
  ResetSignalsAndFds();
  BeBornInCgroup();
  const Request& request = ReceiveRequest();
  const int criu = OpenCriu(request.criu);
  CheckConfig(request.config);
  CheckPreload(request.preload);
  // Read everything before changing anything, so that nothing is copied from another process.
  ReadTraits(request.fixed);
  TakeTraits();
  JoinTime(request);
  MakeClocks(request);
  BecomeCaller(request);

  // State: the caller with its child's capabilities, CAP_CHECKPOINT_RESTORE, and root's hard
  // limits. Only we can use those: the caller cannot trace a non-dumpable process.
  ProveIdentity(request);
  RequireReadable(request.config, Step::kConfig);
  RequireReadable(request.preload, Step::kPreload);
  const EngineFiles files = OpenCallersFiles(request);
  CopyInherited(request);
  SetClocks(request, files.images);
  TakeLabel(request.label, request.label_command);
  const bool hand_over = (request.fixed.flags & kHandOver) != 0;
  const EngineSocket socket = MakeSocket(hand_over);
  const EngineFds placed = PlaceEngineFds(socket.engine, hand_over, files);
  KeepInherited(request);
  // Take the limits last: from here on nothing is opened, mapped or forked.
  TakeLimits();
  SendReady(placed.files.images, placed.files.work, placed.files.status, ClocksInode(),
            socket.service);
  Execute(criu, request, placed.control);
}

}  // namespace criu_service::launcher

int main() { criu_service::launcher::Run(); }
