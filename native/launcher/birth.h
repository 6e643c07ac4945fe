// The cgroup of the launcher.
#pragma once

namespace criu_service::launcher {

// If the service gave a cgroup, goes on as a new process in it. The old process reports the new one
// and exits.
void BeBornInCgroup();

}  // namespace criu_service::launcher
