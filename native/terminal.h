// The TerminalMaster of binding.ts: the master of a pseudo terminal on the event loop.
#pragma once

#include <memory>

#include "fd.h"
#include "napi_headers.h"
#include "poll.h"

namespace criu_service {

class TerminalMaster : public Napi::ObjectWrap<TerminalMaster>, private PollListener {
 public:
  static Napi::Function Define(Napi::Env env);

  explicit TerminalMaster(const Napi::CallbackInfo& info);

 private:
  void Watch(const Napi::CallbackInfo& info);
  Napi::Value Read(const Napi::CallbackInfo& info);
  Napi::Value Write(const Napi::CallbackInfo& info);
  void Resize(const Napi::CallbackInfo& info);
  Napi::Value Copy(const Napi::CallbackInfo& info);
  Napi::Value OpenPeer(const Napi::CallbackInfo& info);
  void CloseMethod(const Napi::CallbackInfo& info);
  void OnPoll(int status, int events) override;
  void StopWatching();
  // The descriptor. Throws EBADF if it was closed.
  int Require(Napi::Env env, const char* syscall) const;

  UniqueFd fd_;
  // Declared after the descriptor, so that it is destroyed first.
  std::unique_ptr<Poll> poll_;
  int watched_ = 0;
  Napi::FunctionReference callback_;
};

}  // namespace criu_service
