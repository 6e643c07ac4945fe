// Copies descriptors of the caller for the engine (inherit_fd), and refuses kinds of them.
#pragma once

#include "parameters.h"

namespace criu_service::launcher {

// Call as the caller: the kernel then checks that we may trace that process. Each copy is judged,
// so nothing that the caller does with its descriptor afterwards matters. Leaves the copies at
// kFirstInheritedFd and the numbers that follow, in the order of the request.
void CopyInherited(const Request& request);

// The engine keeps the copies over execveat(2). Call after the rest was marked for closing.
void KeepInherited(const Request& request);

}  // namespace criu_service::launcher
