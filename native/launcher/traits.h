// The traits that a child inherits from its parent beside credentials: limits, priorities, /proc
// settings.
#pragma once

#include <sys/types.h>

#include "parameters.h"

namespace criu_service::launcher {

// Call as root: reads all traits from the caller, then makes sure that the pid was still the
// caller's.
void ReadTraits(const Parameters& caller);

// Call as root: takes over all traits except the limits. Hard limits are raised if necessary.
void TakeTraits();

// Call as root, before the uid changes: makes setresuid(2) find that the caller's uid has too many
// processes exactly if fork(2) would.
void PrepareProcessLimit();

// Call as the caller: sets the limits. All are lowered from here on, so no privilege is needed.
void TakeLimits();

}  // namespace criu_service::launcher
