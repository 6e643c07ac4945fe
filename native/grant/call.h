// Lets a task make one system call, and leaves it as it was.
#pragma once

#include "task.h"

namespace criu_service::grant {

// The task executes prctl(PR_SET_PTRACER, engine). Refuses, which ends the program, unless it does.
// Returns false if the task has ended meanwhile.
bool NameEngine(const Task& task, const Task& engine, const Parameters& parameters);

}  // namespace criu_service::grant
