// Transient scopes: systemd puts a process into a cgroup of its own (org.freedesktop.systemd1(5),
// StartTransientUnit), which its user sees in systemctl and cannot write.
#include <systemd/sd-bus.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "addon.h"
#include "args.h"
#include "error.h"

namespace criu_service {
namespace {

// The job is done in a few milliseconds; an overloaded systemd may take longer.
constexpr std::chrono::seconds kDeadline{10};
constexpr std::chrono::milliseconds kPoll{1};

struct ScopeRequest {
  std::string name;
  std::string slice;
  std::string description;
  uint32_t pid;
};

struct BusDeleter {
  void operator()(sd_bus* bus) const { sd_bus_flush_close_unref(bus); }
};
struct MessageDeleter {
  void operator()(sd_bus_message* message) const { sd_bus_message_unref(message); }
};
using Bus = std::unique_ptr<sd_bus, BusDeleter>;
using Message = std::unique_ptr<sd_bus_message, MessageDeleter>;

class BusError {
 public:
  BusError() = default;
  ~BusError() { sd_bus_error_free(&error_); }
  BusError(const BusError&) = delete;
  BusError& operator=(const BusError&) = delete;
  sd_bus_error* get() { return &error_; }

 private:
  sd_bus_error error_ = SD_BUS_ERROR_NULL;
};

// The system bus, or, on a machine without one, the socket that systemctl of root uses.
int Connect(Bus& bus) {
  sd_bus* opened = nullptr;
  int result = sd_bus_open_system(&opened);
  if (result >= 0) {
    bus.reset(opened);
    return result;
  }
  result = sd_bus_new(&opened);
  if (result < 0) return result;
  bus.reset(opened);
  result = sd_bus_set_address(opened, "unix:path=/run/systemd/private");
  return result < 0 ? result : sd_bus_start(opened);
}

int Append(sd_bus_message* message, const ScopeRequest& request) {
  return sd_bus_message_append(message, "ssa(sv)a(sa(sv))", request.name.c_str(), "fail", 4,
                               "Description", "s", request.description.c_str(), "Slice", "s",
                               request.slice.c_str(), "CollectMode", "s", "inactive-or-failed",
                               "PIDs", "au", 1, request.pid, 0);
}

// The cgroup of the unified hierarchy, `0::/path` in /proc/PID/cgroup.
std::optional<std::string> CgroupOf(uint32_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with("0::")) return line.substr(3);
  }
  return std::nullopt;
}

// On a thread of its own: the bus answers when it likes, and the event loop serves others.
class StartScope : public Napi::AsyncWorker {
 public:
  StartScope(Napi::Env env, ScopeRequest request)
      : Napi::AsyncWorker(env, "criu-service:scope"),
        deferred_(Napi::Promise::Deferred::New(env)),
        request_(std::move(request)) {}

  Napi::Promise Promise() const { return deferred_.Promise(); }

  void Execute() override {
    const int result = Start();
    if (result < 0) {
      error_ = -result;
      return;
    }
    const std::string end = "/" + request_.name;
    const auto deadline = std::chrono::steady_clock::now() + kDeadline;
    while (std::chrono::steady_clock::now() < deadline) {
      const std::optional<std::string> cgroup = CgroupOf(request_.pid);
      if (!cgroup) {
        error_ = ESRCH;
        return;
      }
      if (cgroup->ends_with(end)) {
        path_ = *cgroup;
        return;
      }
      std::this_thread::sleep_for(kPoll);
    }
    error_ = ETIMEDOUT;
  }

  void OnOK() override {
    if (error_ != 0) {
      deferred_.Reject(SystemError(Env(), "StartTransientUnit", error_, detail_).Value());
    } else {
      deferred_.Resolve(Napi::String::New(Env(), path_));
    }
  }

 private:
  int Start() {
    Bus bus;
    int result = Connect(bus);
    if (result < 0) return result;
    sd_bus_message* created = nullptr;
    result = sd_bus_message_new_method_call(
        bus.get(), &created, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager", "StartTransientUnit");
    const Message message(created);
    if (result < 0) return result;
    result = Append(message.get(), request_);
    if (result < 0) return result;
    BusError error;
    constexpr uint64_t timeout = std::chrono::microseconds(kDeadline).count();
    result = sd_bus_call(bus.get(), message.get(), timeout, error.get(), nullptr);
    if (result < 0 && error.get()->message != nullptr) detail_ = error.get()->message;
    return result;
  }

  Napi::Promise::Deferred deferred_;
  ScopeRequest request_;
  int error_ = 0;
  std::string detail_;
  std::string path_;
};

Napi::Value StartScopeCall(const Napi::CallbackInfo& info) {
  const Napi::Object options = RequireObject(info[0], "options");
  ScopeRequest request{
      RequireString(options.Get("name"), "options.name"),
      RequireString(options.Get("slice"), "options.slice"),
      RequireString(options.Get("description"), "options.description"),
      static_cast<uint32_t>(RequireInt(options.Get("pid"), "options.pid", 1, 1 << 30)),
  };
  auto worker = std::make_unique<StartScope>(info.Env(), std::move(request));
  const Napi::Promise promise = worker->Promise();
  // It deletes itself when it is done.
  worker.release()->Queue();
  return promise;
}

}  // namespace

void ExportScopes(Napi::Env env, Napi::Object exports) {
  exports.Set("startScope", Napi::Function::New(env, StartScopeCall, "startScope"));
}

}  // namespace criu_service
