// Starting a program without fork(2): a child that shares our memory until it execs, so that the
// cost does not grow with ours.
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
  // A directory of cgroup v2 that it starts in; -1 for ours.
  int cgroup = -1;
};

struct Spawned {
  pid_t pid = -1;
  UniqueFd pidfd;
  // Otherwise: the step that failed, and its errno. No child is left.
  const char* failed_step = nullptr;
  int failure = 0;
};

// Calls no JavaScript and throws nothing but std::bad_alloc, before there is a child.
Spawned Spawn(const SpawnPlan& plan);

}  // namespace criu_service
