// Closes descriptors on another thread, because close(2) may block.
#pragma once

#include <cstdint>

#include "fd.h"

namespace criu_service {

// Closes `fd` on the thread of its lane. Returns 0, or the errno of starting that thread; then the
// close waits for the lane's next thread.
int CloseElsewhere(uint32_t lane, UniqueFd fd);

}  // namespace criu_service
