// Closing on another thread what may block whoever closes it.
#pragma once

#include <cstdint>

#include "fd.h"

namespace criu_service {

// Closes on the thread of its lane. Returns 0, or why there is no thread for it; then it waits for
// the next one of its lane.
int CloseElsewhere(uint32_t lane, UniqueFd fd);

}  // namespace criu_service
