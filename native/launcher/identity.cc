#include "identity.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "report.h"
#include "traits.h"

namespace criu_service::launcher {
namespace {

constexpr uint64_t Bit(int capability) { return uint64_t{1} << static_cast<unsigned>(capability); }

struct CapabilitySets {
  uint64_t effective;
  uint64_t permitted;
  uint64_t inheritable;
};

// Use the system calls: libcap would be one more library to trust, for two calls.
bool SetCapabilities(const CapabilitySets& sets) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
  for (unsigned half = 0; half < _LINUX_CAPABILITY_U32S_3; ++half) {
    data[half].effective = static_cast<uint32_t>(sets.effective >> (32 * half));
    data[half].permitted = static_cast<uint32_t>(sets.permitted >> (32 * half));
    data[half].inheritable = static_cast<uint32_t>(sets.inheritable >> (32 * half));
  }
  return ::syscall(SYS_capset, &header, data) == 0;
}

CapabilitySets GetCapabilities(Step step) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  Require(::syscall(SYS_capget, &header, data) == 0, step);
  CapabilitySets sets{};
  for (unsigned half = 0; half < _LINUX_CAPABILITY_U32S_3; ++half) {
    sets.effective |= uint64_t{data[half].effective} << (32 * half);
    sets.permitted |= uint64_t{data[half].permitted} << (32 * half);
    sets.inheritable |= uint64_t{data[half].inheritable} << (32 * half);
  }
  return sets;
}

// Reads a set that the kernel tells by single capabilities: 1, 0, or -1 after the last known one.
template <typename Asks>
uint64_t GetSet(Asks is_held) {
  uint64_t set = 0;
  int held = 0;
  for (int capability = 0; capability < 64 && held != -1; ++capability) {
    held = is_held(capability);
    if (held == 1) set |= Bit(capability);
  }
  return set;
}

uint64_t GetBoundingSet() {
  return GetSet([](int capability) { return ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0); });
}

uint64_t GetAmbientSet() {
  return GetSet([](int capability) {
    return ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, capability, 0, 0);
  });
}

void NarrowBoundingSet(uint64_t wanted) {
  const uint64_t own = GetBoundingSet();
  for (int capability = 0; capability < 64; ++capability) {
    const bool is_wanted = (wanted & Bit(capability)) != 0;
    const bool is_held = (own & Bit(capability)) != 0;
    // The service cannot give a capability that it lacks; without this check CRIU would fail later,
    // with a less clear error.
    if (is_wanted && !is_held) Fail(Step::kBounding, EPERM, capability);
    if (is_held && !is_wanted) {
      Require(::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0, Step::kBounding, capability);
    }
  }
}

void Prove(bool holds, ProofFault fault) {
  if (!holds) Fail(Step::kProof, 0, fault);
}

void ProveGroups(const Request& request) {
  static gid_t own[kMaxGroups];
  const int count = ::getgroups(static_cast<int>(kMaxGroups), own);
  Prove(count >= 0 && static_cast<uint32_t>(count) == request.fixed.group_count, kProofGroups);
  const size_t size = static_cast<size_t>(count) * sizeof own[0];
  Prove(std::memcmp(own, request.groups, size) == 0, kProofGroups);
}

// Each attempt would succeed for a process that has kept a privilege. If the caller's children hold
// CAP_SETUID or CAP_SETGID (through its ambient set), the engine may hold it, too, and the attempt
// is left out.
void ProveNothingComesBack(const Request& request, const CapabilitySets& sets) {
  const Parameters& fixed = request.fixed;
  if ((sets.permitted & Bit(CAP_SETUID)) == 0) {
    Prove(::setresuid(0, 0, 0) == -1 && errno == EPERM, kProofRegainUid);
  }
  if ((sets.permitted & Bit(CAP_SETGID)) == 0) {
    const gid_t other = fixed.gid == 0 ? 1 : 0;
    Prove(::setresgid(other, other, other) == -1 && errno == EPERM, kProofRegainGid);
    Prove(::setgroups(0, nullptr) == -1 && errno == EPERM, kProofRegainGroups);
  }
  const CapabilitySets all{~uint64_t{0}, ~uint64_t{0}, sets.inheritable};
  Prove(!SetCapabilities(all) && errno == EPERM, kProofRegainCapabilities);
}

size_t WithoutEnd(const char* text, size_t size) {
  while (size > 0 && (text[size - 1] == '\0' || text[size - 1] == '\n')) --size;
  return size;
}

}  // namespace

void CheckOwnIdentity() {
  // Securebits change the meaning of the calls below, and the engine would inherit them.
  const int securebits = ::prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
  if (securebits != 0) Fail(Step::kSelf, EPERM, securebits);
}

void SetEffective(uint64_t capabilities, Step step) {
  const CapabilitySets own = GetCapabilities(step);
  Require(SetCapabilities({capabilities, own.permitted, own.inheritable}), step,
          static_cast<int64_t>(capabilities));
}

void BecomeCaller(const Request& request) {
  const Parameters& fixed = request.fixed;
  const uint64_t inheritable = fixed.inheritable | kCheckpointRestore;
  const uint64_t permitted = fixed.ambient | kCheckpointRestore;

  // Needs CAP_SETPCAP. Set the inheritable set before the bounding set. Like the caller's, it may
  // hold capabilities outside the bounding set, but they cannot be added once the bounding set is
  // narrowed.
  const CapabilitySets own = GetCapabilities(Step::kInheritable);
  Require(SetCapabilities({own.effective, own.permitted, inheritable}), Step::kInheritable,
          static_cast<int64_t>(inheritable));
  NarrowBoundingSet(fixed.bounding);

  // Needs CAP_SETGID, then CAP_SETUID: in the other order CAP_SETGID would be lost first.
  // PR_SET_KEEPCAPS keeps the permitted set across the change of uid; the effective set is empty
  // from then on.
  Require(::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0, Step::kCapabilities);
  PrepareProcessLimit();
  Require(::setgroups(fixed.group_count, request.groups) == 0, Step::kGroups, fixed.group_count);
  Require(::setresgid(fixed.gid, fixed.gid, fixed.gid) == 0, Step::kGid, fixed.gid);
  Require(::setresuid(fixed.uid, fixed.uid, fixed.uid) == 0, Step::kUid, fixed.uid);
  // The kernel has done this at the change of uid, unless sysctl fs.suid_dumpable is 1. The caller
  // must not trace us or take our descriptors before exec. This memory has no secret, but root's
  // capabilities are still permitted, and a process with the control socket could answer the
  // service in our name.
  Require(::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0, Step::kSelf);
  Require(::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) == 0, Step::kCapabilities);

  // State: the caller's uid, with root's capabilities permitted and none effective. Their last use
  // is to give them up. The inheritable set stays the same, so CAP_SETPCAP is not needed.
  Require(SetCapabilities({permitted, permitted, inheritable}), Step::kCapabilities,
          static_cast<int64_t>(permitted));
  // For a uid other than 0, only ambient capabilities survive exec.
  for (int capability = 0; capability < 64; ++capability) {
    if ((permitted & Bit(capability)) == 0) continue;
    Require(::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) == 0, Step::kAmbient,
            capability);
  }

  // No privilege from here on. Join a new session keyring now, so that the caller owns it and pays
  // for it. The inherited keyring is root's, and its possessor could read it.
  const long keyring = ::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);
  Require(keyring != -1 || errno == ENOSYS, Step::kKeyring);
  ::umask(static_cast<mode_t>(fixed.umask));
  Require(::chdir("/") == 0, Step::kDirectory);
  if ((fixed.flags & kCallerHasNoNewPrivs) != 0) {
    Require(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, Step::kNoNewPrivs);
  }
}

void ProveIdentity(const Request& request) {
  const Parameters& fixed = request.fixed;
  const CapabilitySets wanted{fixed.ambient | kCheckpointRestore,
                              fixed.ambient | kCheckpointRestore,
                              fixed.inheritable | kCheckpointRestore};
  ProveNothingComesBack(request, wanted);
  // Compare after the attempts, so that a partial success of an attempt is found.
  uid_t uids[3];
  gid_t gids[3];
  Prove(::getresuid(&uids[0], &uids[1], &uids[2]) == 0, kProofUid);
  Prove(::getresgid(&gids[0], &gids[1], &gids[2]) == 0, kProofGid);
  for (const uid_t uid : uids) Prove(uid == fixed.uid, kProofUid);
  for (const gid_t gid : gids) Prove(gid == fixed.gid, kProofGid);
  // The ids for file access: -1 is never valid, so the call changes nothing and returns the current
  // id.
  Prove(static_cast<uid_t>(::setfsuid(static_cast<uid_t>(-1))) == fixed.uid, kProofUid);
  Prove(static_cast<gid_t>(::setfsgid(static_cast<gid_t>(-1))) == fixed.gid, kProofGid);
  ProveGroups(request);
  const CapabilitySets own = GetCapabilities(Step::kProof);
  Prove(own.effective == wanted.effective && own.permitted == wanted.permitted &&
            own.inheritable == wanted.inheritable,
        kProofCapabilities);
  Prove(GetAmbientSet() == wanted.permitted, kProofAmbient);
  Prove(GetBoundingSet() == fixed.bounding, kProofBounding);
  const bool restricted = ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
  Prove(restricted == ((fixed.flags & kCallerHasNoNewPrivs) != 0), kProofNoNewPrivs);
  Prove(::prctl(PR_GET_SECUREBITS, 0, 0, 0, 0) == 0, kProofSecurebits);
  // exec makes the engine dumpable while its libraries are loaded. Meanwhile no process of the
  // caller's may look into the engine, which holds a capability that they lack.
  // native/engine-preload ends that state before CRIU's main().
  Prove(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 1, kProofDumpable);
}

void TakeLabel(const char* label, const char* command) {
  if (label == nullptr) return;
  static char own[kMaxStringSize];
  const int current = ::open("/proc/self/attr/current", O_RDONLY | O_CLOEXEC);
  Require(current != -1, Step::kLabel);
  const ssize_t size = ::read(current, own, sizeof own);
  Require(size != -1, Step::kLabel);
  ::close(current);
  const size_t length = std::strlen(label);
  if (WithoutEnd(own, static_cast<size_t>(size)) == length &&
      std::memcmp(own, label, length) == 0) {
    return;
  }
  // The kernel demands that the file is opened and written with the same credentials. Every process
  // may write it; the module's policy decides here, and again at exec. The kernel refuses a text
  // that its module does not understand, and any text if there is no module.
  const int next = ::open("/proc/self/attr/exec", O_WRONLY | O_CLOEXEC);
  Require(next != -1, Step::kLabel);
  const size_t command_length = std::strlen(command);
  Require(::write(next, command, command_length) == static_cast<ssize_t>(command_length),
          Step::kLabel);
  ::close(next);
}

}  // namespace criu_service::launcher
