// Starts a program without fork(2): the child shares our memory until exec, so the cost does not
// grow with our memory.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "fd.h"

namespace criu_service {

struct FdPlacement {
  int source;
  int target;
};

struct SpawnPlan {
  std::string file;
  std::vector<std::string> arguments;
  std::vector<std::string> environment;
  std::string directory;
  mode_t umask = 022;
  // Distinct targets, in ascending order.
  std::vector<FdPlacement> fds;
  // The directory of the cgroup (v2) in which the child starts; -1 for our own cgroup.
  int cgroup = -1;
};

struct Spawned {
  pid_t pid = -1;
  UniqueFd pidfd;
  // On failure: the failed step and its errno. Then no child is left.
  const char* failed_step = nullptr;
  int failure = 0;
};

// Calls no JavaScript. Throws only std::bad_alloc, before there is a child.
Spawned Spawn(const SpawnPlan& plan);

}  // namespace criu_service
