// The one packet that the launcher works from.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "protocol.h"

namespace criu_service::launcher {

// Checked. The pointers point into the packet; a string that was not given is null.
struct Request {
  Parameters fixed;
  const gid_t* groups;
  const char* criu;
  const char* config;
  const char* images_path;
  const char* label;
  const char* label_command;
  const char* preload;
};

// Waits for the packet. Fails on anything that is not exactly as protocol.h says.
const Request& ReceiveRequest();

}  // namespace criu_service::launcher
