#include "addon.h"

#include "fd.h"
#include "process.h"
#include "socket.h"
#include "terminal.h"

namespace criu_service {
namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  auto addon = std::make_unique<Addon>();
  addon->loop = EventLoop::Of(env);
  addon->owned_fd = Napi::Persistent(OwnedFd::Define(env));
  addon->socket = Napi::Persistent(SeqpacketSocket::Define(env));
  addon->process = Napi::Persistent(Process::Define(env));
  addon->terminal = Napi::Persistent(TerminalMaster::Define(env));
  env.SetInstanceData(addon.release());

  ExportEndpoints(env, exports);
  ExportProcesses(env, exports);
  ExportDescriptors(env, exports);
  ExportSystemd(env, exports);
  ExportIdentities(env, exports);
  ExportOpenFiles(env, exports);
  ExportJournal(env, exports);
  ExportScopes(env, exports);
  ExportCloser(env, exports);
  ExportHeld(env, exports);
  ExportReader(env, exports);
  ExportHolders(env, exports);
  ExportRenames(env, exports);
  ExportLocks(env, exports);
  ExportTerminals(env, exports);
  ExportEnds(env, exports);
  ExportPeersEnd(env, exports);
  ExportLooks(env, exports);
  ExportExit(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(criu_service, Init)

}  // namespace criu_service
