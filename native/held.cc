// The files and sockets that processes hold, and which of them their owner could open alone. Both
// are found on one thread that may be lost: it reads as root, then asks as that owner.
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "addon.h"
#include "args.h"
#include "caller_access.h"
#include "elsewhere.h"
#include "error.h"
#include "holdings.h"

namespace criu_service {
namespace {

// A thread may be in 65,536 groups.
constexpr uint32_t kMostGroups = 65'536;
constexpr int64_t kLargestId = std::numeric_limits<uint32_t>::max() - 1;

void AppendNumber(std::string* text, int64_t number) {
  if (number != kUnknown) text->append(std::to_string(number));
  text->push_back('\0');
}

void Append(std::string* text, const Holding& holding) {
  AppendNumber(text, holding.pid);
  text->append(holding.name).push_back('\0');
  text->append(holding.access).push_back('\0');
  text->append(holding.target).push_back('\0');
  AppendNumber(text, static_cast<int64_t>(holding.queued));
  AppendNumber(text, holding.failure);
  AppendNumber(text, holding.owner);
  AppendNumber(text, static_cast<int64_t>(holding.mount));
  AppendNumber(text, static_cast<int64_t>(holding.magic));
  AppendNumber(text, holding.fuse_owner);
  AppendNumber(text, holding.path);
  AppendNumber(text, holding.process);
}

class HeldWork : public Task {
 public:
  HeldWork(std::vector<pid_t> processes, Credentials caller)
      : processes_(std::move(processes)), caller_(std::move(caller)) {}

  void Run() override {
    HoldingsReader reader;
    reader.FindProcMount();
    for (const pid_t process : processes_) reader.ReadProcess(process);
    failure_ = reader.Failure();
    if (failure_ != 0) return;
    // From here on nothing is read as root.
    failure_ = BecomeCaller(caller_);
    if (failure_ != 0) return;
    reader.AskAsCaller();
    AppendNumber(&text_, static_cast<int64_t>(reader.ProcMount()));
    for (const Holding& holding : reader.Holdings()) Append(&text_, holding);
  }

  Napi::Value Result(Napi::Env env) override {
    if (failure_ != 0) throw SystemError(env, "readHeld", failure_);
    // Latin-1 maps each byte to one character, so a file may have any name.
    napi_value text = nullptr;
    if (napi_create_string_latin1(env, text_.data(), text_.size(), &text) != napi_ok) {
      throw SystemError(env, "readHeld", ENOMEM);
    }
    return {env, text};
  }

 private:
  std::vector<pid_t> processes_;
  Credentials caller_;
  int failure_ = 0;
  std::string text_;
};

gid_t RequireId(const Napi::Value& value, const std::string& name, int64_t least) {
  return static_cast<gid_t>(RequireInteger(value, name, least, kLargestId));
}

Napi::Value ReadHeld(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Array pids = RequireArray(info[0], "processes");
  std::vector<pid_t> processes;
  processes.reserve(pids.Length());
  for (uint32_t index = 0; index < pids.Length(); ++index) {
    processes.push_back(RequireInt(pids.Get(index), "processes[" + std::to_string(index) + "]", 1,
                                   std::numeric_limits<int>::max()));
  }
  const Napi::Object who = RequireObject(info[1], "caller");
  Credentials caller;
  // Root may open everything, so asking as root is an error.
  caller.uid = RequireId(who.Get("uid"), "caller.uid", 1);
  caller.gid = RequireId(who.Get("gid"), "caller.gid", 0);
  const Napi::Array groups = RequireArray(who.Get("groups"), "caller.groups");
  if (groups.Length() > kMostGroups) ThrowArgument(env, "caller.groups", "must not be so many");
  for (uint32_t index = 0; index < groups.Length(); ++index) {
    caller.groups.push_back(
        RequireId(groups.Get(index), "caller.groups[" + std::to_string(index) + "]", 0));
  }
  return Elsewhere(env, std::make_shared<HeldWork>(std::move(processes), std::move(caller)));
}

}  // namespace

void ExportHeld(Napi::Env env, Napi::Object exports) {
  exports.Set("readHeld", Napi::Function::New(env, ReadHeld, "readHeld"));
}

}  // namespace criu_service
