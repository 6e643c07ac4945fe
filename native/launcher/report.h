// The launcher's answers, and its only way to fail.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "protocol.h"

namespace criu_service::launcher {

// Moves the control socket out of the way of the engine's descriptors.
void MoveControl();
int ControlFd();

// Sends kReady with the service's end of the socket, if there is one (not -1).
void SendReady(int32_t images_fd, int32_t work_fd, int32_t status_fd, int64_t clocks,
               int service_socket);

// Sends kBorn with the pidfd of the process that goes on.
void SendBorn(int64_t pid, int pidfd);

// Sends a packet that is no Answer. Without a reader there is no request any more.
void SendPacket(const void* packet, size_t size);

// Reports the failed step, and exits. Undoing anything is needless, because the process ends.
[[noreturn]] void Fail(Step step, int error, int64_t value = 0);

// For a call that sets errno.
inline void Require(bool succeeded, Step step, int64_t value = 0) {
  if (!succeeded) Fail(step, errno, value);
}

}  // namespace criu_service::launcher
