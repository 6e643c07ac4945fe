// The files and directories that the launcher opens: root's as root, the caller's as the caller.
#pragma once

#include "parameters.h"

namespace criu_service::launcher {

// Opens criu for execveat(2). It must be root's alone to write, and give nothing when executed.
int OpenCriu(const char* path);

// The configuration file decides what CRIU does: only root may write it.
void CheckConfig(const char* path);

// The library runs in the engine, with all that the engine holds.
void CheckPreload(const char* path);

// What the engine gets beside its socket; -1 where nothing was asked for.
struct EngineFiles {
  int images = -1;
  int work = -1;
  int status = -1;
};

// As the caller: every permission is checked by the kernel, against the caller.
EngineFiles OpenCallersFiles(const Request& request);

// As the caller: one that cannot read the file would run a CRIU without it.
void RequireReadable(const char* path, Step step);

// The numbers in the engine.
struct EngineFds {
  EngineFiles files;
  int control;  // Of its copy of the control socket.
};

// Puts the engine's socket, its files and a copy of the control socket in their places, and lets
// everything else end with execveat(2).
EngineFds PlaceEngineFds(int socket, bool hand_over, const EngineFiles& files);

}  // namespace criu_service::launcher
