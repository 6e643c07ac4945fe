// What a child inherits from its parent beside credentials: limits, priorities, /proc settings.
#pragma once

#include <sys/types.h>

#include "parameters.h"

namespace criu_service::launcher {

// As root: reads them all from the caller, and only then makes sure that it still was the caller.
void ReadTraits(const Parameters& caller);

// As root: takes them over, but for the limits, of which only the hard ones are raised where they
// have to be.
void TakeTraits();

// As root, before the uid changes: makes setresuid(2) see that the caller's uid has too many
// processes just when fork(2) would have.
void PrepareProcessLimit();

// As the caller: the limits, all of them lowered from here on, so that no privilege is needed.
void TakeLimits();

}  // namespace criu_service::launcher
