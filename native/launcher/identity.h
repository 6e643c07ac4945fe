// The engine's identity: ids, groups, capabilities. Privileges are given up in steps; then their
// absence is proved.
#pragma once

#include "parameters.h"

namespace criu_service::launcher {

// CAP_CHECKPOINT_RESTORE (Linux 5.9), as a set.
constexpr uint64_t kCheckpointRestore = uint64_t{1} << 40U;

// Fails if securebits are set, because every step below depends on them.
void CheckOwnIdentity();

// Call with the caller's effective uid, and root's as the others: these capabilities alone take
// effect, until the effective uid is root's again.
void SetEffective(uint64_t capabilities, Step step);

// Turns root with every capability into the caller, with its child's capabilities and
// CAP_CHECKPOINT_RESTORE.
void BecomeCaller(const Request& request);

// Call as the caller: proves that the identity is as requested, and that no privilege comes back.
void ProveIdentity(const Request& request);

// Call as the caller: makes execveat(2) give this label.
void TakeLabel(const char* label, const char* command);

}  // namespace criu_service::launcher
