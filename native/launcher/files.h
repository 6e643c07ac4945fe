// Opens files and directories: root's files as root, the caller's files as the caller.
#pragma once

#include "parameters.h"

namespace criu_service::launcher {

// Opens criu for execveat(2). Only root may write it, and executing it must give no privilege.
int OpenCriu(const char* path);

// The configuration file decides what CRIU does: only root may write it.
void CheckConfig(const char* path);

// The library runs in the engine, with all that the engine holds.
void CheckPreload(const char* path);

// The engine's files beside its socket; -1 for a file that was not requested.
struct EngineFiles {
  int images = -1;
  int work = -1;
  int status = -1;
};

// Call as the caller: the kernel then checks every permission against the caller.
EngineFiles OpenCallersFiles(const Request& request);

// Call as the caller: if the file were unreadable, CRIU would run without it.
void RequireReadable(const char* path, Step step);

// The descriptor numbers in the engine.
struct EngineFds {
  EngineFiles files;
  int control;  // The engine's copy of the control socket.
};

// Puts the engine's socket, its files and a copy of the control socket in their places. execveat(2)
// closes everything else.
EngineFds PlaceEngineFds(int socket, bool hand_over, const EngineFiles& files);

}  // namespace criu_service::launcher
