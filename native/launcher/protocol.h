// The protocol between the service and the launcher. Mirrored by src/engine/launcher-protocol.ts.
//
// The launcher is started as root with argv[0] only, an empty environment and the descriptors of
// StartFd. Then, on descriptor 3, a SEQPACKET socket:
//
//   launcher -> service   with kCgroupFd only, at any time: an Answer, kBorn, with a pidfd
//                         (SCM_RIGHTS). A new process in that cgroup, also a child of the service,
//                         goes on as the launcher. The old one exits with status 0.
//   service -> launcher   one Parameters packet. Without kCgroupFd, the launcher's pid was put into
//                         its cgroup before.
//   launcher -> service   with kOwnClocks only: a ClocksPacket, sent by the caller without a
//                         privilege. The service answers with a ClocksAnswer, or closes the
//                         connection: then nothing is executed.
//   launcher -> service   one Answer. kReady: every privilege is gone, the engine is about to be
//                         executed. Unless the engine got the caller's connection, the packet
//                         carries the service's end of the engine's socket (SCM_RIGHTS, one
//                         descriptor). kFailed: the launcher exits with status 1 and nothing was
//                         executed.
//   launcher -> service   after kReady only: a second Answer, kFailed with Step::kExecute, if
//                         execveat(2) failed; exit status 1.
//   engine -> service     after kReady only: a second Answer, kGuarded, from native/engine-preload
//                         in the executed program, before that program's main(). The engine's copy
//                         of descriptor 3 is closed then. A statically linked program, or a program
//                         that could not load the library, never sends it.
//   end of the connection after kGuarded: there is an engine. Without kGuarded: there is no engine,
//                         because the launcher or the program failed or was killed (the caller may
//                         kill either, since both have its uid). Without kReady: nothing was
//                         executed.
//
// Integers are in the machine's byte order: both ends run on it. Step::kParameters refuses a packet
// whose length differs from its stated length, another version, an unknown flag, and a value out of
// range.
#pragma once

#include <cstddef>
#include <cstdint>

namespace criu_service::launcher {

constexpr uint32_t kMagic = 0x484c5243;  // "CRLH"
constexpr uint32_t kVersion = 4;

// Descriptors at the launcher's start; 0 and 1 are /dev/null, 2 is the engine's stderr.
enum StartFd : int {
  kControlFd = 3,
  kCallerPidfd = 4,
  kCallerProcFd = 5,    // The directory /proc/PID of the caller, bound to the pidfd by the service.
  kCallerSocketFd = 6,  // The caller's connection, blocking; for a hand-over only.
  kTimePidfd = 7,       // A process whose time namespace the engine enters; with kJoinTime only.
  kCgroupFd = 8,  // The directory of the engine's cgroup, if the launcher is to be born in it.
};

// Descriptors at the engine's start, with argv "criu", "swrk", "3". The requested files follow in
// the order of Answer's fields, without gaps.
//
// The engine's copy of the control socket is the last. For a hand-over the copy is kEngineSocketFd
// instead, and the caller's connection is the next number; the library puts the connection in its
// place. The caller can keep the library from being loaded (it may set its engine's limits at any
// time, and ld.so goes on without the library). CRIU would then serve the request in that
// connection with the capability in effect.
enum EngineFd : int {
  kEngineSocketFd = 3,
  kFirstEngineFd = 4,
  kLastEngineFd = 7,  // Three files, and the copy of the control socket.
  // Copies of the caller's descriptors, in the order of the request. CRIU's own get lower numbers.
  kFirstInheritedFd = 64,
};

constexpr uint32_t kMaxInherited = 64;

constexpr uint32_t kCallerHasNoNewPrivs = 1;
constexpr uint32_t kHandOver = 2;      // The engine gets kCallerSocketFd; no file is opened for it.
constexpr uint32_t kNoCapability = 4;  // The request needs no CAP_CHECKPOINT_RESTORE.
constexpr uint32_t kJoinTime = 8;      // The engine enters the time namespace of kTimePidfd.
constexpr uint32_t kOwnClocks = 16;    // The engine gets a time namespace with the images' clocks.
constexpr uint32_t kKnownFlags =
    kCallerHasNoNewPrivs | kHandOver | kNoCapability | kJoinTime | kOwnClocks;

// Environment variables that the library in the engine reads and removes. The first is the number
// of its copy of the control socket. The second is `asleep` (the capability is permitted, and in
// effect for single calls), `callers` (the same, and the caller's children hold it anyway) or
// `none`.
constexpr char kReadyVariable[] = "CRIU_SERVICE_READY";
constexpr char kCapabilityVariable[] = "CRIU_SERVICE_CAPABILITY";

// The kernel knows up to 65,536 groups, but one packet must fit into a socket's default buffer.
constexpr uint32_t kMaxGroups = 32768;
constexpr uint32_t kMaxStringSize = 4096;  // Each, with its NUL.

struct Parameters {
  uint32_t magic;
  uint32_t version;
  uint32_t flags;
  int32_t pid;  // The process of kCallerPidfd.
  uint32_t uid;
  uint32_t gid;
  uint32_t umask;
  int32_t images_fd;  // A descriptor of the caller, or -1. Excludes the images path.
  int32_t work_fd;    // Or -1.
  int32_t status_fd;  // Or -1.
  uint64_t bounding;  // Capability sets of the caller, bit N is capability N.
  uint64_t inheritable;
  uint64_t ambient;
  // After this structure come `group_count` groups of 32 bits, ascending; then `inherited_count`
  // descriptors of the caller, 32 bits each, that the engine gets copies of; then the strings, in
  // this order, each with a NUL at its end that its size counts. Size 0 means no string.
  uint32_t group_count;
  uint32_t criu_size;           // An absolute path.
  uint32_t config_size;         // An absolute path of a file with the one line `unprivileged`.
  uint32_t images_path_size;    // A path; if relative, from `/`.
  uint32_t label_size;          // The caller's LSM label, as SO_PEERSEC tells it.
  uint32_t label_command_size;  // The text for /proc/self/attr/exec that takes that label.
  uint32_t preload_size;        // An absolute path: the library preloaded into the engine.
  uint32_t inherited_count;
};
static_assert(sizeof(Parameters) == 96 && offsetof(Parameters, bounding) == 40);

constexpr size_t kMaxParametersSize = sizeof(Parameters) +
                                      (kMaxGroups + kMaxInherited) * sizeof(uint32_t) +
                                      size_t{6} * kMaxStringSize;

enum class Kind : uint32_t { kReady = 0, kFailed = 1, kGuarded = 2, kClocks = 3, kBorn = 4 };

// In the order of execution. The meaning of `value` is told at each step that has one.
enum class Step : uint32_t {
  kNone = 0,
  kSelf,        // The launcher was not started as required; securebits, or a descriptor.
  kCgroup,      // The cgroup of kCgroupFd.
  kParameters,  // The byte offset, or the size.
  kCriu,        // FileFault.
  kConfig,      // FileFault.
  kPreload,     // FileFault.
  kNice,
  kScheduler,  // The policy.
  kIoPriority,
  kAffinity,
  kCoredumpFilter,
  kOomScore,
  kLoginUid,
  kReadLimit,  // RLIMIT_*.
  kCallerGone,
  kRaiseLimit,   // RLIMIT_*; the caller's hard limit is above root's own.
  kTime,         // TimeFault.
  kInheritable,  // The requested set.
  kBounding,     // The capability.
  kGroups,       // The number of groups.
  kGid,
  kUid,
  kCapabilities,  // The requested set.
  kAmbient,       // The capability.
  kKeyring,
  kNoNewPrivs,
  kProof,  // ProofFault.
  kDirectory,
  kImages,     // The caller's descriptor, or -1 for a path.
  kWork,       // The caller's descriptor.
  kStatus,     // The caller's descriptor.
  kInherited,  // The caller's descriptor, and above its 32 bits an InheritedFault.
  kClocks,     // ClocksFault.
  kLabel,
  kSocket,
  kDescriptors,
  kLimit,  // RLIMIT_*.
  kAnswer,
  kExecute,
};

// Faults of a file that must be root's. kFileCannotBeRead: errno tells why.
enum FileFault : int {
  kFileCannotBeRead = 0,
  kFileNotRegular = 1,
  kFileNotRoots = 2,
  kFileWritableByOthers = 3,
  kFileSetId = 4,
  kFileHasCapabilities = 5,
};

// Kinds of descriptors that the engine does not get. kInheritedServed: errno tells what failed.
enum InheritedFault : int {
  kInheritedServed = 0,
  kInheritedPath = 1,  // O_PATH.
  kInheritedDirectory = 2,
  kInheritedBlock = 3,     // A block device.
  kInheritedDevice = 4,    // A character device that is neither harmless nor a terminal.
  kInheritedTerminal = 5,  // Another user's.
  kInheritedKernel = 6,    // A file of the kernel's own.
  kInheritedRights = 7,    // The caller could not open it as it is open.
};

enum TimeFault : int {
  kTimeJoin = 0,     // The namespace of kTimePidfd.
  kTimeMake = 1,     // A new namespace.
  kTimeOffsets = 2,  // The file that sets its clocks.
};

// Faults of the image with the clocks, and of the clocks.
enum ClocksFault : int {
  kClocksCannotBeRead = 0,
  kClocksNotRegular = 1,
  kClocksNoAnswer = 2,
  kClocksNotSet = 3,
};

// Faults that the proof found after everything was given up.
enum ProofFault : int {
  kProofUid = 1,
  kProofGid = 2,
  kProofGroups = 3,
  kProofCapabilities = 4,
  kProofAmbient = 5,
  kProofBounding = 6,
  kProofNoNewPrivs = 7,
  kProofSecurebits = 8,
  kProofDumpable = 9,
  kProofRegainUid = 10,
  kProofRegainGid = 11,
  kProofRegainGroups = 12,
  kProofRegainCapabilities = 13,
};

struct Answer {
  uint32_t magic;
  uint32_t version;
  Kind kind;
  Step step;          // kNone when ready.
  int32_t error;      // errno; or 0 if no call failed, but its result is refused.
  int32_t images_fd;  // Descriptors of the engine, or -1.
  int32_t work_fd;
  int32_t status_fd;
  // When ready: the inode of the time namespace that was made, or 0. When born: the pid.
  int64_t value;
};
static_assert(sizeof(Answer) == 40 && offsetof(Answer, value) == 32);

struct ClockTime {
  int64_t seconds;
  int64_t nanoseconds;  // Below a second, also beside negative seconds.
};

// CRIU's image has 34 bytes at most. A longer file is sent in part, and refused.
constexpr size_t kMaxClocksImage = 4096;
// Two lines of at most 64 characters.
constexpr size_t kMaxOwnOffsets = 256;

struct ClocksPacket {
  uint32_t magic;
  uint32_t version;
  Kind kind;           // kClocks.
  int32_t image_size;  // -1: there is no image with clocks.
  uint32_t own_size;
  uint32_t unused;
  // The launcher's clocks at this moment, in its own time namespace.
  ClockTime monotonic;
  ClockTime boottime;
  char own[kMaxOwnOffsets];  // /proc/self/timens_offsets: how far those clocks are from the host's.
  char image[kMaxClocksImage];
};
static_assert(sizeof(ClocksPacket) == 56 + kMaxOwnOffsets + kMaxClocksImage);

struct ClocksAnswer {
  uint32_t magic;
  uint32_t version;
  uint32_t set;  // 0: the clocks stay as they are.
  uint32_t unused;
  // From the host's clocks.
  ClockTime monotonic;
  ClockTime boottime;
};
static_assert(sizeof(ClocksAnswer) == 48);

}  // namespace criu_service::launcher
