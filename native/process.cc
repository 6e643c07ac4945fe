#include "process.h"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <limits>
#include <string>

#include "addon.h"
#include "args.h"
#include "error.h"
#include "kernel.h"
#include "spawn.h"

namespace criu_service {
namespace {

constexpr int kLargestSignal = 64;
constexpr int kLargestInt = std::numeric_limits<int>::max();
// A target plus 1 must still be an int. RLIMIT_NOFILE refuses much smaller numbers with EINVAL.
constexpr int kLargestTarget = kLargestInt - 1;
constexpr int kLargestUmask = 0777;

int WaitForExit(int pidfd, siginfo_t& info) {
  return RetryOnSignal(
      [&] { return ::waitid(kWaitByPidfd, static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG); });
}

int SendSignal(int pidfd, int signal) {
  return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0U));
}

Napi::Object Status(Napi::Env env, const siginfo_t& info) {
  Napi::Object status = Napi::Object::New(env);
  if (info.si_code == CLD_EXITED) {
    status.Set("kind", "exited");
    status.Set("code", info.si_status);
  } else {
    // CLD_KILLED or CLD_DUMPED.
    status.Set("kind", "signalled");
    status.Set("signal", info.si_status);
  }
  return status;
}

SpawnPlan Plan(const Napi::Value& value) {
  const Napi::Env env = value.Env();
  const Napi::Object options = RequireObject(value, "options");
  SpawnPlan plan;
  plan.file = RequireString(options.Get("file"), "options.file");
  if (!plan.file.starts_with('/')) ThrowArgument(env, "options.file", "must be an absolute path");
  plan.arguments = RequireStrings(options.Get("argv"), "options.argv");
  // Since 5.18, Linux replaces an empty argv by an empty argv[0] and warns, see execve(2).
  if (plan.arguments.empty()) ThrowArgument(env, "options.argv", "must have an argv[0]");
  plan.environment = RequireStrings(options.Get("env"), "options.env");
  const Napi::Value directory = options.Get("cwd");
  plan.directory = directory.IsUndefined() ? "/" : RequireString(directory, "options.cwd");

  const Napi::Value umask = options.Get("umask");
  if (!umask.IsUndefined()) {
    plan.umask = static_cast<mode_t>(RequireInt(umask, "options.umask", 0, kLargestUmask));
  }

  const Napi::Value cgroup = options.Get("cgroup");
  if (!cgroup.IsUndefined()) plan.cgroup = RequireFd(cgroup, "options.cgroup").Get();

  const Napi::Array fds = RequireArray(options.Get("fds"), "options.fds");
  for (uint32_t index = 0; index < fds.Length(); ++index) {
    const std::string name = "options.fds[" + std::to_string(index) + "]";
    const Napi::Object placement = RequireObject(fds.Get(index), name);
    plan.fds.push_back({RequireFd(placement.Get("source"), name + ".source").Get(),
                        RequireInt(placement.Get("target"), name + ".target", 0, kLargestTarget)});
  }
  std::sort(plan.fds.begin(), plan.fds.end(),
            [](const FdPlacement& a, const FdPlacement& b) { return a.target < b.target; });
  const auto twice =
      std::adjacent_find(plan.fds.begin(), plan.fds.end(),
                         [](const auto& a, const auto& b) { return a.target == b.target; });
  if (twice != plan.fds.end()) {
    ThrowArgument(env, "options.fds",
                  "must not name target " + std::to_string(twice->target) + " twice");
  }
  return plan;
}

Napi::Value SpawnProcess(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const SpawnPlan plan = Plan(info[0]);
  // Make the JavaScript object first: after the clone nothing may fail.
  Process* process = Process::New(env);
  Spawned spawned = Spawn(plan);
  if (spawned.failed_step != nullptr) {
    const std::string step = spawned.failed_step;
    throw SystemError(env, spawned.failed_step, spawned.failure,
                      step == "execve"  ? plan.file
                      : step == "chdir" ? plan.directory
                                        : "");
  }
  process->Hold(spawned.pid, std::move(spawned.pidfd));
  return process->Value();
}

Napi::Value AdoptProcess(const Napi::CallbackInfo& info) {
  OwnedFd& pidfd = RequireFd(info[0], "pidfd");
  // Signal 0 only asks, see pidfd_send_signal(2). EBADF means that the descriptor is not a pidfd.
  // Any other failure (ESRCH: the process has ended, EPERM: we may not signal it) means that it is.
  if (SendSignal(pidfd.Get(), 0) == -1 && errno == EBADF) {
    ThrowArgument(info.Env(), "pidfd", "must be a pidfd");
  }
  const pid_t pid = RequireInt(info[1], "pid", 0, kLargestInt);
  Process* process = Process::New(info.Env());
  process->Hold(pid, pidfd.Take());
  return process->Value();
}

Napi::Value IsAlive(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (SendSignal(RequireFd(info[0], "pidfd").Get(), 0) == 0) return Napi::Boolean::New(env, true);
  const int failure = errno;
  // The process exists, but we may not signal it.
  if (failure == EPERM) return Napi::Boolean::New(env, true);
  if (failure == ESRCH) return Napi::Boolean::New(env, false);
  throw SystemError(env, "pidfd_send_signal", failure);
}

// Does not reap the process. That is left to the holder of its Process.
Napi::Value Kill(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (SendSignal(RequireFd(info[0], "pidfd").Get(), SIGKILL) == 0) {
    return Napi::Boolean::New(env, true);
  }
  const int failure = errno;
  if (failure == ESRCH) return Napi::Boolean::New(env, false);
  throw SystemError(env, "pidfd_send_signal", failure);
}

}  // namespace

Napi::Function Process::Define(Napi::Env env) {
  return DefineClass(env, "Process",
                     {
                         InstanceAccessor<&Process::Pid>("pid"),
                         InstanceMethod<&Process::OnExit>("onExit"),
                         InstanceMethod<&Process::KeepPid>("keepPid"),
                         InstanceMethod<&Process::ReleasePid>("releasePid"),
                         InstanceMethod<&Process::Signal>("signal"),
                         InstanceMethod<&Process::CloseMethod>("close"),
                     });
}

Process* Process::New(Napi::Env env) {
  UniqueFd nothing;
  const Napi::Object pidfd = OwnedFd::New(env, nothing);
  std::shared_ptr<FdSlot> slot = OwnedFd::From(pidfd)->Slot();
  Napi::Object object =
      Addon::Of(env).process.New({Napi::External<std::shared_ptr<FdSlot>>::New(env, &slot)});
  // A plain property, so that the garbage collector sees that the Process keeps its pidfd.
  object.DefineProperty(Napi::PropertyDescriptor::Value("pidfd", pidfd, napi_enumerable));
  return Unwrap(object);
}

Process::Process(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (!info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(), "a Process comes only from a call of this addon");
  }
  slot_ = *info[0].As<Napi::External<std::shared_ptr<FdSlot>>>().Data();
}

Process::~Process() {
  // A Process is collected only if no onExit() is waiting. JavaScript may still use its pidfd.
  if (slot_ == nullptr) return;
  slot_->watcher = nullptr;
  poll_.reset();
  ReapIfEnded();
}

void Process::Hold(pid_t pid, UniqueFd&& pidfd) noexcept {
  pid_ = pid;
  slot_->fd = std::move(pidfd);
}

int Process::Require(Napi::Env env, const char* syscall) const {
  if (!slot_->fd.IsOpen()) throw SystemError(env, syscall, EBADF, "the pidfd was closed");
  return slot_->fd.Get();
}

Napi::Value Process::Pid(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), pid_);
}

void Process::OnExit(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Function callback = RequireFunction(info[0], "callback");
  const int pidfd = Require(env, "uv_poll_start");
  if (asked_) throw Napi::Error::New(env, "onExit() was called before, and calls back once");
  PollListener& listener = *this;
  auto poll = std::make_unique<Poll>(env, Addon::Of(env).loop, pidfd, listener);
  Napi::FunctionReference reference = Napi::Persistent(callback);
  const int failure = poll->Start(UV_READABLE);
  if (failure != 0) throw SystemError(env, "uv_poll_start", failure);
  Ref();
  asked_ = true;
  poll_ = std::move(poll);
  callback_ = std::move(reference);
  slot_->watcher = this;
}

void Process::StopWatching() {
  if (!poll_) return;
  slot_->watcher = nullptr;
  poll_.reset();
  callback_.Reset();
  Unref();
}

void Process::BeforeFdGoes() { StopWatching(); }

// A pidfd becomes readable when the whole thread group has ended, see pidfd_open(2).
void Process::OnPoll(int status, int) {
  const Napi::Env env = Env();
  const Napi::Object self = Value();
  const Napi::Function callback = callback_.Value();

  siginfo_t info{};
  const int waited = WaitForExit(slot_->fd.Get(), info);
  const int failure = waited == -1 ? errno : 0;
  if (failure == 0 && info.si_pid != 0) {
    reaped_ = true;
    StopWatching();
    CallFromLoop(env, self, callback, {Status(env, info)});
  } else if (failure == ECHILD && status == 0) {
    // The process is not our child, or another owner has reaped it.
    StopWatching();
    Napi::Object unknown = Napi::Object::New(env);
    unknown.Set("kind", "unknown");
    CallFromLoop(env, self, callback, {unknown});
  } else if (failure != 0 || status != 0) {
    // Not expected: the poll or the wait itself failed. A call of the callback would claim an exit.
    StopWatching();
    ThrowFromLoop(env, failure != 0 ? SystemError(env, "waitid", failure)
                                    : SystemError(env, "poll", -status));
  }
}

Napi::Value Process::KeepPid(const Napi::CallbackInfo& info) {
  // Without a watch nothing reaps the process, or it was reaped already.
  if (!poll_) return Napi::Boolean::New(info.Env(), false);
  poll_->Stop();
  return Napi::Boolean::New(info.Env(), true);
}

void Process::ReleasePid(const Napi::CallbackInfo& info) {
  if (!poll_) return;
  const int failure = poll_->Start(UV_READABLE);
  if (failure != 0) throw SystemError(info.Env(), "uv_poll_start", failure);
}

Napi::Value Process::Signal(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int signal = RequireInt(info[0], "signal", 0, kLargestSignal);
  if (SendSignal(Require(env, "pidfd_send_signal"), signal) == -1) {
    const int failure = errno;
    if (failure == ESRCH) return Napi::Boolean::New(env, false);
    throw SystemError(env, "pidfd_send_signal", failure);
  }
  return Napi::Boolean::New(env, true);
}

// Reaps our child if it has ended. A running child is left alone, and so is another parent's
// (ECHILD).
void Process::ReapIfEnded() {
  if (reaped_ || !slot_->fd.IsOpen()) return;
  siginfo_t info{};
  reaped_ = WaitForExit(slot_->fd.Get(), info) == 0 && info.si_pid != 0;
}

void Process::CloseMethod(const Napi::CallbackInfo&) {
  StopWatching();
  ReapIfEnded();
  slot_->fd.Reset();
}

void ExportProcesses(Napi::Env env, Napi::Object exports) {
  exports.Set("spawn", Napi::Function::New<SpawnProcess>(env, "spawn"));
  exports.Set("adoptProcess", Napi::Function::New<AdoptProcess>(env, "adoptProcess"));
  exports.Set("isAlive", Napi::Function::New<IsAlive>(env, "isAlive"));
  exports.Set("kill", Napi::Function::New<Kill>(env, "kill"));
}

}  // namespace criu_service
