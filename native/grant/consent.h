// Whether the kernel's own rule (Yama, ptrace_scope 1) lets the caller trace a process.
#pragma once

#include "task.h"

namespace criu_service::grant {

// The caller is the process, or one of its ancestors.
Consent RelationTo(const Task& caller, const Task& process);

// Asks the kernel for each of `count` tasks from `first` on, by PTRACE_SEIZE from a process with
// the caller's ids and no capability: `may_trace` gets its answers. It is no relative of the tasks,
// so only tasks that have named anybody, or an ancestor of the service, let it. No task is
// stopped.
void AskKernel(const Tree& tree, uint32_t first, uint32_t count, const Parameters& parameters,
               bool* may_trace);

}  // namespace criu_service::grant
