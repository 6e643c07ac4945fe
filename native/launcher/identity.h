// Who the engine is: ids, groups, capabilities. Given up in steps, then proved.
#pragma once

#include "parameters.h"

namespace criu_service::launcher {

// CAP_CHECKPOINT_RESTORE (Linux 5.9), as a set.
constexpr uint64_t kCheckpointRestore = uint64_t{1} << 40U;

// Fails where securebits are set: every step below relies on what they change.
void CheckOwnIdentity();

// From root with every capability to the caller with what its child holds and CHECKPOINT_RESTORE.
void BecomeCaller(const Request& request);

// As the caller: that everything is as it was asked for, and that nothing comes back.
void ProveIdentity(const Request& request);

// As the caller: execveat(2) will give this label.
void TakeLabel(const char* label, const char* command);

}  // namespace criu_service::launcher
