// The engine's time namespace: CLOCK_MONOTONIC and CLOCK_BOOTTIME of the engine and of what it
// restores.
#pragma once

#include "parameters.h"

namespace criu_service::launcher {

// Call as root: enters the time namespace of the process at kTimePidfd, if kJoinTime asks for that.
void JoinTime(const Request& request);

// Call as root: makes a time namespace that execveat(2) will enter, if kOwnClocks asks for that.
// Until then the descriptor that sets its clocks stays open; it is good for nothing else.
void MakeClocks(const Request& request);

// Call as the caller: sends the clocks in the images to the service, and sets the clocks that it
// answers.
void SetClocks(const Request& request, int images);

// The inode of the time namespace that MakeClocks() has made; 0 without one.
int64_t ClocksInode();

}  // namespace criu_service::launcher
