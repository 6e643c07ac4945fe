// State of one environment (the main thread, a worker): its classes and its event loop.
#pragma once

#include <array>
#include <memory>

#include "napi_headers.h"
#include "poll.h"

namespace criu_service {

// The status flags of standard input, output and error (F_GETFL), or -1.
using StandardFlags = std::array<int, 3>;

struct Addon {
  static Addon& Of(Napi::Env env) { return *env.GetInstanceData<Addon>(); }

  Napi::FunctionReference owned_fd;
  Napi::FunctionReference socket;
  Napi::FunctionReference process;
  Napi::FunctionReference terminal;
  std::shared_ptr<EventLoop> loop;
  // As they were when the addon was loaded.
  StandardFlags standard_flags{-1, -1, -1};
};

// Each file adds its part of the exports.
void ExportEndpoints(Napi::Env env, Napi::Object exports);
void ExportProcesses(Napi::Env env, Napi::Object exports);
void ExportDescriptors(Napi::Env env, Napi::Object exports);
void ExportIdentities(Napi::Env env, Napi::Object exports);
void ExportOpenFiles(Napi::Env env, Napi::Object exports);
void ExportJournal(Napi::Env env, Napi::Object exports);
void ExportSystemd(Napi::Env env, Napi::Object exports);
void ExportScopes(Napi::Env env, Napi::Object exports);
void ExportCloser(Napi::Env env, Napi::Object exports);
void ExportHeld(Napi::Env env, Napi::Object exports);
void ExportReader(Napi::Env env, Napi::Object exports);
void ExportHolders(Napi::Env env, Napi::Object exports);
void ExportRenames(Napi::Env env, Napi::Object exports);
void ExportLocks(Napi::Env env, Napi::Object exports);
void ExportTerminals(Napi::Env env, Napi::Object exports);
void ExportEnds(Napi::Env env, Napi::Object exports);
void ExportPeersEnd(Napi::Env env, Napi::Object exports);
void ExportLooks(Napi::Env env, Napi::Object exports);
void ExportExit(Napi::Env env, Napi::Object exports);

}  // namespace criu_service
