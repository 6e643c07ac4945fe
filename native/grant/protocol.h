// The protocol between the service and criu-grant. Mirrored by src/engine/grant-protocol.ts.
//
// The program is started as root with argv[0] only, an empty environment and the descriptors of
// StartFd. Then, on descriptor 3, a SEQPACKET socket:
//
//   service -> program   a Parameters packet
//   program -> service   an Answer; then the program exits, which lets go of all that it traces
//   end of the connection without an answer: the program was killed
//
// Integers are in the machine's byte order: both ends run on it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace criu_service::grant {

constexpr uint32_t kMagic = 0x41525943;  // "CYRA"
constexpr uint32_t kVersion = 2;

// 0 to 2 are /dev/null, or 2 is for the messages of a sanitizer. The directories are /proc/PID:
// each stays bound to its process, and cannot be read any more when that has gone.
enum StartFd : int {
  kControlFd = 3,
  kCallerProcFd = 4,
  kRootProcFd = 5,    // The root of the tree.
  kEngineProcFd = 6,  // The engine.
};

// The root of the tree must be the caller, descend from the caller, or have named the caller or
// anybody.
constexpr uint32_t kNeedsConsent = 1;
// Tasks that the caller could trace already name the engine, too: for tests, where a kernel without
// Yama lets the caller trace every task.
constexpr uint32_t kNameAll = 2;
constexpr uint32_t kKnownFlags = kNeedsConsent | kNameAll;

struct Parameters {
  uint32_t magic;
  uint32_t version;
  uint32_t flags;
  int32_t engine;  // The process of kEngineProcFd, which waits meanwhile.
  int32_t caller;  // The process of kCallerProcFd.
  int32_t root;    // The process of kRootProcFd.
  uint32_t uid;    // The caller's.
  uint32_t gid;
  uint64_t permitted;  // The caller's capabilities; bit N is capability N.
};
static_assert(sizeof(Parameters) == 40 && offsetof(Parameters, permitted) == 32);

// Why the tree's root consents.
enum class Consent : uint32_t {
  kUnasked = 0,
  kSelf = 1,        // It is the caller.
  kDescendant = 2,  // It descends from the caller.
  kNamed = 3,       // It has named anybody (prctl(2), PR_SET_PTRACER, PR_SET_PTRACER_ANY).
};

// The reason of a refusal. A fault of a task comes with its pid.
enum class Fault : uint32_t {
  kNone = 0,
  kSelf = 1,  // The program was not started as required, or a call for itself failed.
  kParameters = 2,
  kNoConsent = 3,
  kGone = 4,     // The caller, the root of the tree, or the engine.
  kTooMany = 5,  // More processes than kMostTasks, or new ones faster than they can be asked.
  kLate = 6,     // The task did not stop, or not get to its call, within kSeconds.
  kRead = 7,     // Its files in /proc.
  kForeign = 8,  // Another uid or gid.
  kCapable = 9,  // Capabilities that the caller does not hold.
  kNotDumpable = 10,
  kNamespace = 11,   // Another user or pid namespace.
  kTraced = 12,      // By a debugger, for instance.
  kSeccomp = 13,     // A filter, or strict mode: the call could end it.
  kDispatch = 14,    // Its system calls go to a handler (PR_SET_SYSCALL_USER_DISPATCH).
  kCompat = 15,      // A program of 32 bits.
  kNoCode = 16,      // It has no vdso, or another than this program.
  kSeize = 17,       // The kernel does not let it be traced.
  kDisturbed = 18,   // It did something else than the call.
  kCall = 19,        // prctl(2) failed.
  kRegisters = 20,   // The kernel does not take its registers from a tracer.
  kSequence = 21,    // Its area for restartable sequences is a file's.
  kAskerEnded = 22,  // The process that asks the kernel for the caller.
};

constexpr uint32_t kMostTasks = 16384;

// For each task, where stop and call take microseconds; for the whole tree; and for a task that
// neither stops nor goes on with registers that are not its own. Later the service kills the
// program.
constexpr unsigned kSeconds = 5;
constexpr unsigned kMostSeconds = 20;
constexpr unsigned kLastSeconds = 50;

struct Answer {
  uint32_t magic;
  uint32_t version;
  Fault fault;  // kNone: each process of the tree can be traced by the engine.
  Consent consent;
  int32_t pid;      // Of the task that the fault is about, or 0.
  int32_t error;    // errno, or 0.
  uint32_t named;   // The processes that have named the engine now.
  uint32_t before;  // Those that the caller could trace already.
};
static_assert(sizeof(Answer) == 32);

}  // namespace criu_service::grant
