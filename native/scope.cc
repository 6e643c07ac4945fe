// Transient scopes: systemd moves a process into a cgroup of its own (org.freedesktop.systemd1(5),
// StartTransientUnit). The process's user sees the scope in systemctl and cannot write to it.
//
// systemd collects a scope when its last process leaves. The kernel does not move a process that is
// exiting (cgroup_migrate_add_task() passes over PF_EXITING), but reports success to systemd. Such
// a scope never had a process, so its last process never leaves, and the scope would stay for ever.
#include <systemd/sd-bus.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "addon.h"
#include "args.h"
#include "elsewhere.h"
#include "error.h"

namespace criu_service {
namespace {

// A job takes a few milliseconds; an overloaded systemd may take longer.
constexpr std::chrono::seconds kDeadline{10};
constexpr std::chrono::milliseconds kPoll{1};

constexpr const char* kSystemd = "org.freedesktop.systemd1";
constexpr const char* kManagerPath = "/org/freedesktop/systemd1";
constexpr const char* kManager = "org.freedesktop.systemd1.Manager";

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

// Connects to the system bus or, on a machine without a bus, to the socket that root's systemctl
// uses. Each call times out after kDeadline.
int Connect(Bus& bus) {
  sd_bus* opened = nullptr;
  int result = sd_bus_open_system(&opened);
  if (result >= 0) {
    bus.reset(opened);
  } else {
    result = sd_bus_new(&opened);
    if (result < 0) return result;
    bus.reset(opened);
    result = sd_bus_set_address(opened, "unix:path=/run/systemd/private");
    if (result >= 0) result = sd_bus_start(opened);
    if (result < 0) return result;
  }
  return sd_bus_set_method_call_timeout(opened, std::chrono::microseconds(kDeadline).count());
}

int Append(sd_bus_message* message, const ScopeRequest& request) {
  return sd_bus_message_append(message, "ssa(sv)a(sa(sv))", request.name.c_str(), "fail", 4,
                               "Description", "s", request.description.c_str(), "Slice", "s",
                               request.slice.c_str(), "CollectMode", "s", "inactive-or-failed",
                               "PIDs", "au", 1, request.pid, 0);
}

// The path in the unified hierarchy, `0::/path` in /proc/PID/cgroup.
std::optional<std::string> CgroupOf(uint32_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with("0::")) return line.substr(3);
  }
  return std::nullopt;
}

// Stops a scope, even if systemd starts it only after our deadline, because systemd handles jobs in
// order. If systemd has collected the scope meanwhile, the failure is ignored.
void Stop(sd_bus* bus, const std::string& name) {
  BusError error;
  sd_bus_call_method(bus, kSystemd, kManagerPath, kManager, "StopUnit", error.get(), nullptr, "ss",
                     name.c_str(), "replace");
}

// Runs in a lane of the user who asks. The bus answers when it likes, and a user influences how
// long moving a process takes. libuv has only four threads for all users.
class StartScope : public Task {
 public:
  explicit StartScope(ScopeRequest request) : request_(std::move(request)) {}

  void Run() override {
    Bus bus;
    error_ = Connect(bus);
    if (error_ >= 0) error_ = Start(bus.get());
    const bool may_be_there = error_ >= 0 || error_ == -ETIMEDOUT;
    if (error_ >= 0) error_ = Await();
    if (error_ < 0 && may_be_there) Stop(bus.get(), request_.name);
  }

  Napi::Value Result(Napi::Env env) override {
    if (error_ < 0) throw SystemError(env, "StartTransientUnit", -error_, detail_);
    return Napi::String::New(env, path_);
  }

 private:
  // Zero or more if systemd has accepted the job, otherwise a negative errno, as sd-bus uses them.
  int Start(sd_bus* bus) {
    sd_bus_message* created = nullptr;
    int result = sd_bus_message_new_method_call(bus, &created, kSystemd, kManagerPath, kManager,
                                                "StartTransientUnit");
    const Message message(created);
    if (result < 0) return result;
    result = Append(message.get(), request_);
    if (result < 0) return result;
    BusError error;
    result = sd_bus_call(bus, message.get(), 0, error.get(), nullptr);
    if (result < 0 && error.get()->message != nullptr) detail_ = error.get()->message;
    return result;
  }

  // Zero once the process is in the scope.
  int Await() {
    const std::string end = "/" + request_.name;
    const auto deadline = std::chrono::steady_clock::now() + kDeadline;
    while (std::chrono::steady_clock::now() < deadline) {
      const std::optional<std::string> cgroup = CgroupOf(request_.pid);
      if (!cgroup) return -ESRCH;
      if (cgroup->ends_with(end)) {
        path_ = *cgroup;
        return 0;
      }
      std::this_thread::sleep_for(kPoll);
    }
    return -ETIMEDOUT;
  }

  ScopeRequest request_;
  int error_ = 0;
  std::string detail_;
  std::string path_;
};

// True for an empty scope that systemd has finished starting, so that its process had its chance to
// be moved there.
bool IsEmpty(sd_bus* bus, const std::string& name, const std::string& directory) {
  char* path = nullptr;
  if (sd_bus_path_encode("/org/freedesktop/systemd1/unit", name.c_str(), &path) < 0) return false;
  const std::unique_ptr<char, decltype(&std::free)> unit(path, &std::free);
  BusError error;
  char* text = nullptr;
  if (sd_bus_get_property_string(bus, kSystemd, path, "org.freedesktop.systemd1.Unit",
                                 "ActiveState", error.get(), &text) < 0) {
    return false;
  }
  const std::unique_ptr<char, decltype(&std::free)> state(text, &std::free);
  if (std::string(text) != "active") return false;
  std::ifstream file(directory + "/cgroup.events");
  std::string line;
  while (std::getline(file, line)) {
    if (line == "populated 0") return true;
  }
  return false;
}

class StopEmptyScope : public Task {
 public:
  StopEmptyScope(std::string name, std::string directory)
      : name_(std::move(name)), directory_(std::move(directory)) {}

  void Run() override {
    Bus bus;
    error_ = Connect(bus);
    stopped_ = error_ >= 0 && IsEmpty(bus.get(), name_, directory_);
    if (stopped_) Stop(bus.get(), name_);
  }

  Napi::Value Result(Napi::Env env) override {
    if (error_ < 0) throw SystemError(env, "StopUnit", -error_);
    return Napi::Boolean::New(env, stopped_);
  }

 private:
  std::string name_;
  std::string directory_;
  int error_ = 0;
  bool stopped_ = false;
};

Napi::Value StopEmptyScopeCall(const Napi::CallbackInfo& info) {
  return InLane(info.Env(), "scopes that nobody is in",
                std::make_shared<StopEmptyScope>(RequireString(info[0], "name"),
                                                 RequireString(info[1], "directory")));
}

Napi::Value StartScopeCall(const Napi::CallbackInfo& info) {
  const Napi::Object options = RequireObject(info[0], "options");
  ScopeRequest request{
      RequireString(options.Get("name"), "options.name"),
      RequireString(options.Get("slice"), "options.slice"),
      RequireString(options.Get("description"), "options.description"),
      static_cast<uint32_t>(RequireInt(options.Get("pid"), "options.pid", 1, 1 << 30)),
  };
  const int64_t lane =
      RequireInteger(options.Get("lane"), "options.lane", 0, std::numeric_limits<uint32_t>::max());
  return InLane(info.Env(), "scopes of " + std::to_string(lane),
                std::make_shared<StartScope>(std::move(request)));
}

}  // namespace

void ExportScopes(Napi::Env env, Napi::Object exports) {
  exports.Set("startScope", Napi::Function::New(env, StartScopeCall, "startScope"));
  exports.Set("stopEmptyScope", Napi::Function::New(env, StopEmptyScopeCall, "stopEmptyScope"));
}

}  // namespace criu_service
