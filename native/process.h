// The Process of binding.ts: a process held by its pidfd.
#pragma once

#include <memory>

#include "fd.h"
#include "napi_headers.h"
#include "poll.h"

namespace criu_service {

class Process : public Napi::ObjectWrap<Process>, private PollListener, private FdWatcher {
 public:
  static Napi::Function Define(Napi::Env env);
  // Holds no process before Hold().
  static Process* New(Napi::Env env);

  explicit Process(const Napi::CallbackInfo& info);
  ~Process() override;

  // Cannot fail, so that an existing child always has an owner.
  void Hold(pid_t pid, UniqueFd&& pidfd) noexcept;

 private:
  Napi::Value Pid(const Napi::CallbackInfo& info);
  void OnExit(const Napi::CallbackInfo& info);
  Napi::Value KeepPid(const Napi::CallbackInfo& info);
  void ReleasePid(const Napi::CallbackInfo& info);
  Napi::Value Signal(const Napi::CallbackInfo& info);
  void CloseMethod(const Napi::CallbackInfo& info);

  void OnPoll(int status, int events) override;
  void BeforeFdGoes() override;
  void StopWatching();
  void ReapIfEnded();
  int Require(Napi::Env env, const char* syscall) const;

  pid_t pid_ = 0;
  // The descriptor of the OwnedFd that JavaScript sees as `pidfd`.
  std::shared_ptr<FdSlot> slot_;
  // Exists from onExit() until the process has ended, with a reference that keeps this object
  // alive.
  std::unique_ptr<Poll> poll_;
  Napi::FunctionReference callback_;
  bool asked_ = false;
  bool reaped_ = false;
};

}  // namespace criu_service
