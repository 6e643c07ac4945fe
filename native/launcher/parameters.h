// The only packet that the launcher receives.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "protocol.h"

namespace criu_service::launcher {

// A checked request. The pointers point into the packet; an absent string is null.
struct Request {
  Parameters fixed;
  const gid_t* groups;
  const int32_t* inherited;
  const char* criu;
  const char* config;
  const char* images_path;
  const char* label;
  const char* label_command;
  const char* preload;
};

// Waits for the packet. Fails on any deviation from protocol.h.
const Request& ReceiveRequest();

}  // namespace criu_service::launcher
