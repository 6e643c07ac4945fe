// Searches /proc for processes that an engine may have left. The search has a thread of its own,
// because a user chooses how many processes and threads there are, and how fast they come and go.
//
// The search reads only files that never block. It leaves out ns/* and auxv, which wait for
// execve(2) (reader.cc). A process directory's owner is the effective uid (task_dump_owner in the
// kernel's fs/proc/base.c), so most processes are passed over after one call.
#include <dirent.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "addon.h"
#include "args.h"
#include "elsewhere.h"
#include "error.h"

namespace criu_service {
namespace {

// A thread may be in 65,536 groups.
constexpr size_t kLargestFile = size_t{1024} * 1024;
// A process with more threads is reported as unreadable.
constexpr size_t kMostThreads = 100'001;
// Most processes reported at once. If there are more, the caller searches again.
constexpr size_t kMostFound = 4096;
constexpr int64_t kMostWhose = 4096;
// Above every pid (PID_MAX_LIMIT of the kernel).
constexpr int kMostPids = 4 * 1024 * 1024;
constexpr uint64_t kAnySession = std::numeric_limits<uint64_t>::max();

// Selects processes of one user, optionally of one audit session or from one start time on.
struct Whose {
  uid_t uid = 0;
  uint64_t session = kAnySession;
  uint64_t since = 0;
};

struct Look {
  std::vector<Whose> whose;
  std::optional<std::vector<int>> pids;
  std::unordered_set<int> except;
  // The bit of a capability, and a tracer's pid. If neither is set, all processes are reported.
  uint64_t holding = 0;
  int tracer = 0;
  std::string own_map;
};

struct File {
  int failure = 0;
  std::string text;

  bool HasEnded() const { return failure == ENOENT || failure == ESRCH; }
};

File ReadFile(int directory, const char* path) {
  const UniqueFd fd(RetryOnSignal(
      [&] { return ::openat(directory, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); }));
  if (!fd.IsOpen()) return {errno, {}};
  File file;
  std::array<char, 4096> part{};
  while (file.text.size() <= kLargestFile) {
    const ssize_t count = RetryOnSignal([&] { return ::read(fd.Get(), part.data(), part.size()); });
    if (count == -1) return {errno, {}};
    if (count == 0) return file;
    file.text.append(part.data(), static_cast<size_t>(count));
  }
  return {EFBIG, {}};
}

// Value of a line of /proc/PID/status. The first line holds the name that the process gave itself,
// and is never matched. The kernel escapes newlines in the name, so the name cannot imitate another
// line.
std::string_view Line(std::string_view status, std::string_view name) {
  const size_t at = status.find(std::string("\n").append(name).append(":\t"));
  if (at == std::string_view::npos) return {};
  const size_t begin = at + name.size() + 3;
  return status.substr(begin, status.find('\n', begin) - begin);
}

template <typename Number>
std::optional<Number> ParseNumber(std::string_view text, int base = 10) {
  Number number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (failure != std::errc() || end == text.data()) return std::nullopt;
  return number;
}

// Field 22 of proc_pid_stat(5), counted from the last parenthesis, which ends field 2: the name in
// field 2 may contain any byte.
std::optional<uint64_t> StartTime(std::string_view stat) {
  size_t at = stat.rfind(')');
  for (int field = 2; field < 22 && at != std::string_view::npos; ++field)
    at = stat.find(' ', at + 1);
  return at == std::string_view::npos ? std::nullopt : ParseNumber<uint64_t>(stat.substr(at + 1));
}

// Number of processes and threads created since boot.
std::optional<uint64_t> Births(int proc) {
  const File stat = ReadFile(proc, "stat");
  const size_t at = stat.text.find("\nprocesses ");
  if (stat.failure != 0 || at == std::string::npos) return std::nullopt;
  return ParseNumber<uint64_t>(std::string_view(stat.text).substr(at + 11));
}

// Iterates over the numeric names in a directory of /proc. With a small buffer the kernel returns
// one name at a time. Then a process has no time between listing and inspection to exit and come
// back under another pid.
class Numbers {
 public:
  Numbers(int directory, bool one_at_a_time)
      : directory_(directory), small_(one_at_a_time), buffer_(one_at_a_time ? 512 : 65536) {}

  // The next number, 0 at the end, or a negative errno.
  int Next() {
    for (;;) {
      while (at_ < filled_) {
        const auto* entry = reinterpret_cast<const dirent64*>(buffer_.data() + at_);
        at_ += entry->d_reclen;
        const auto number = ParseNumber<int>(static_cast<const char*>(entry->d_name));
        if (number.has_value() && *number > 0) return *number;
      }
      at_ = 0;
      // A buffer for one pid of any length. Some other names need more.
      ssize_t filled = Fill(small_ ? 32 : buffer_.size());
      if (filled == -1 && errno == EINVAL && small_) filled = Fill(buffer_.size());
      filled_ = static_cast<size_t>(std::max<ssize_t>(filled, 0));
      if (filled <= 0) return filled == 0 ? 0 : -errno;
    }
  }

  void Again() {
    ::lseek(directory_, 0, SEEK_SET);
    at_ = filled_ = 0;
  }

 private:
  ssize_t Fill(size_t room) { return ::syscall(SYS_getdents64, directory_, buffer_.data(), room); }

  int directory_;
  bool small_;
  std::vector<char> buffer_;
  size_t at_ = 0;
  size_t filled_ = 0;
};

// Result of one search, a line for each process.
struct Found {
  std::string text;
  size_t count = 0;
};

class Process {
 public:
  Process(const Look& look, int pid, Found* found) : look_(look), pid_(pid), found_(found) {}

  void LookAt(int proc) {
    const std::string name = std::to_string(pid_);
    if (!IsTheirs(::fstatat, proc, name.c_str())) return;
    directory_.Reset(RetryOnSignal(
        [&] { return ::openat(proc, name.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC); }));
    // From here on the descriptor means one process, even if its pid is reused.
    if (!directory_.IsOpen()) return TellUnless(HasEnded(errno), errno);
    if (!IsMeant()) return;
    const File cgroup = Read("cgroup");
    if (cgroup.failure == 0) cgroup_ = Unified(cgroup.text);
    LookAtThreads();
  }

 private:
  static bool HasEnded(int failure) { return failure == ENOENT || failure == ESRCH; }

  File Read(const std::string& path) const { return ReadFile(directory_.Get(), path.c_str()); }

  template <typename Stat>
  bool IsTheirs(Stat stat_at, int proc, const char* name) {
    struct stat status {};
    if (stat_at(proc, name, &status, AT_SYMLINK_NOFOLLOW) == -1) {
      TellUnless(HasEnded(errno), errno);
      return false;
    }
    uid_ = status.st_uid;
    if (look_.whose.empty()) return uid_ != 0;
    for (const Whose& whose : look_.whose) {
      if (whose.uid == uid_) theirs_.push_back(&whose);
    }
    return !theirs_.empty();
  }

  // Tells whether the process belongs to a session or time that was asked for. A process that has
  // exited does not.
  bool IsMeant() {
    const File session = Read("sessionid");
    if (session.failure != 0 && !session.HasEnded()) return Told(session.failure);
    session_ = session.failure == 0 ? ParseNumber<uint64_t>(session.text) : std::nullopt;
    const File stat = Read("stat");
    if (stat.failure != 0) return stat.HasEnded() ? false : Told(stat.failure);
    start_ = StartTime(stat.text);
    if (!start_.has_value()) return Told(EBADMSG);
    return theirs_.empty() || std::any_of(theirs_.begin(), theirs_.end(), [&](const Whose* whose) {
             return whose->since <= *start_ &&
                    (whose->session == kAnySession || whose->session == session_);
           });
  }

  // Path in the unified hierarchy, see cgroups(7). A path cannot contain a newline.
  static std::string Unified(std::string_view text) {
    const size_t at = text.substr(0, 3) == "0::" ? 0 : text.find("\n0::");
    if (at == std::string_view::npos) return {};
    const size_t begin = at + (at == 0 ? 3 : 4);
    return std::string(text.substr(begin, text.find('\n', begin) - begin));
  }

  // Inspects the threads until one matches. If a thread exits or starts meanwhile, it may have been
  // a matching thread under another tid, or may become one. Then the process is reported as
  // unsettled.
  void LookAtThreads() {
    const File leader = Read("status");
    if (leader.failure != 0) return TellUnlessEnded(leader);
    if (IsWanted(leader.text)) return TellOf(pid_, leader.text);
    if (Line(leader.text, "Threads") == "1") return;
    std::unordered_set<int> seen{pid_};
    bool unsettled = false;
    for (const int tid : Threads()) {
      if (tid < 0) return TellUnless(HasEnded(-tid), -tid);
      if (seen.size() > kMostThreads) return TellUnless(false, E2BIG);
      if (!seen.insert(tid).second) continue;
      const File thread = Read("task/" + std::to_string(tid) + "/status");
      if (thread.HasEnded()) {
        unsettled = true;
      } else if (thread.failure != 0) {
        return TellUnlessEnded(thread);
      } else if (IsWanted(thread.text)) {
        return TellOf(tid, thread.text);
      }
    }
    const std::vector<int> now = Threads();
    unsettled = unsettled ||
                std::any_of(now.begin(), now.end(), [&](int tid) { return seen.count(tid) == 0; });
    if (unsettled) Tell("unsettled");
  }

  // The thread ids. If they cannot be read, the last element is a negative errno.
  std::vector<int> Threads() const {
    const UniqueFd task(RetryOnSignal(
        [&] { return ::openat(directory_.Get(), "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
    if (!task.IsOpen()) return {-errno};
    std::vector<int> tids;
    Numbers numbers(task.Get(), false);
    for (int tid = numbers.Next(); tid != 0; tid = numbers.Next()) {
      tids.push_back(tid);
      if (tid < 0 || tids.size() > kMostThreads + 1) break;
    }
    return tids;
  }

  bool IsWanted(std::string_view status) {
    const std::string_view state = Line(status, "State");
    // A thread that has exited does nothing.
    if (state.empty() || state[0] == 'Z' || state[0] == 'X') return false;
    if (look_.holding == 0 && look_.tracer == 0) return true;
    if (look_.tracer != 0 && ParseNumber<int>(Line(status, "TracerPid")) == look_.tracer)
      return true;
    const uint64_t held = ParseNumber<uint64_t>(Line(status, "CapPrm"), 16).value_or(0) |
                          ParseNumber<uint64_t>(Line(status, "CapAmb"), 16).value_or(0);
    return (held & look_.holding) != 0 && IsOfOurUsers();
  }

  // A capability has no effect here if it is held in another user namespace. Two namespaces have
  // our uid_map: our own, and a namespace made by root in which every id maps to itself.
  bool IsOfOurUsers() {
    if (!of_ours_.has_value()) {
      const File map = Read("uid_map");
      // If the process has exited, report it like one that could not be read.
      of_ours_ = map.failure != 0 || map.text == look_.own_map;
    }
    return *of_ours_;
  }

  void TellOf(int tid, std::string_view status) {
    std::string facts = std::to_string(tid);
    facts.append(" ").append(Line(status, "State").substr(0, 1));
    for (const char* name : {"TracerPid", "Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapAmb"}) {
      std::string value(Line(status, name));
      std::replace(value.begin(), value.end(), '\t', ' ');
      facts.append(" ").append(value);
    }
    Tell("found " + facts);
  }

  void TellUnlessEnded(const File& file) {
    if (file.HasEnded()) {
      // The process matched a moment ago, before it exited.
      Tell("unsettled");
    } else {
      Tell(std::to_string(file.failure));
    }
  }

  void TellUnless(bool ended, int failure) {
    if (!ended) Tell(std::to_string(failure));
  }

  bool Told(int failure) {
    Tell(std::to_string(failure));
    return false;
  }

  void Tell(const std::string& how) {
    ++found_->count;
    found_->text.append(std::to_string(pid_))
        .append(" ")
        .append(std::to_string(uid_))
        .append(" ")
        .append(start_.has_value() ? std::to_string(*start_) : "-")
        .append(" ")
        .append(session_.has_value() ? std::to_string(*session_) : "-")
        .append(" ")
        .append(how)
        .append("\t")
        .append(cgroup_)
        .append("\n");
  }

  const Look& look_;
  int pid_;
  // Effective uid of the first thread.
  uid_t uid_ = static_cast<uid_t>(-1);
  Found* found_;
  UniqueFd directory_;
  std::vector<const Whose*> theirs_;
  std::optional<uint64_t> session_;
  std::optional<uint64_t> start_;
  std::string cgroup_;
  std::optional<bool> of_ours_;
};

// Number of processes at the last count.
std::atomic<unsigned> last_count{0};

class Looking : public Task {
 public:
  Looking(UniqueFd proc, Look look) : proc_(std::move(proc)), look_(std::move(look)) {}

  void Run() override {
    const File own_map = ReadFile(proc_.Get(), "self/uid_map");
    failure_ = own_map.failure;
    if (failure_ != 0) return;
    look_.own_map = own_map.text;
    const std::optional<uint64_t> before = Births(proc_.Get());
    if (look_.pids.has_value()) {
      for (const int pid : *look_.pids) LookAt(pid);
    } else {
      LookAtAll();
    }
    quiet_ = before.has_value() && before == Births(proc_.Get());
    proc_.Reset();
  }

  Napi::Value Result(Napi::Env env) override {
    if (failure_ != 0) throw SystemError(env, "read", failure_, "/proc");
    napi_value text = nullptr;
    // Latin-1 maps each byte to one character.
    if (napi_create_string_latin1(env, found_.text.data(), found_.text.size(), &text) != napi_ok) {
      throw SystemError(env, "malloc", ENOMEM);
    }
    Napi::Object result = Napi::Object::New(env);
    result.Set("found", Napi::Value(env, text));
    result.Set("quiet", Napi::Boolean::New(env, quiet_));
    result.Set("cut", Napi::Boolean::New(env, IsFull()));
    return result;
  }

 private:
  bool IsFull() const { return found_.count >= kMostFound; }

  void LookAt(int pid) {
    if (IsFull() || look_.except.count(pid) != 0) return;
    Process(look_, pid, &found_).LookAt(proc_.Get());
  }

  // Inspects all processes in numeric order, from a random start. A user who forks endlessly, to
  // stay where the search has been or has yet to come, cannot know where that is.
  void LookAtAll() {
    unsigned random = 0;
    if (::getrandom(&random, sizeof random, GRND_NONBLOCK) == -1) random = 0;
    const unsigned all = last_count.load();
    const unsigned left_out = all == 0 ? 0 : random % all;
    unsigned count = 0;
    int first = kMostPids;
    Numbers numbers(proc_.Get(), true);
    for (int pid = numbers.Next(); pid > 0; pid = numbers.Next()) {
      if (++count <= left_out) continue;
      first = std::min(first, pid);
      LookAt(pid);
    }
    // Now the processes before the start, and those born among them since.
    numbers.Again();
    unsigned again = 0;
    for (int pid = numbers.Next(); pid > 0; pid = numbers.Next()) {
      if (++again > left_out && pid >= first) break;
      LookAt(pid);
    }
    last_count.store(count);
  }

  UniqueFd proc_;
  Look look_;
  Found found_;
  int failure_ = 0;
  bool quiet_ = false;
};

std::vector<int> Pids(const Napi::Value& value, const std::string& name) {
  const Napi::Array list = RequireArray(value, name);
  std::vector<int> pids;
  pids.reserve(list.Length());
  for (uint32_t index = 0; index < list.Length(); ++index) {
    pids.push_back(
        RequireInt(list.Get(index), name + "[" + std::to_string(index) + "]", 1, kMostPids));
  }
  return pids;
}

uint64_t OptionalNumber(const Napi::Value& value, const std::string& name, uint64_t otherwise) {
  if (value.IsUndefined()) return otherwise;
  constexpr int64_t kMostExact = int64_t{1} << 53;
  return static_cast<uint64_t>(RequireInteger(value, name, 0, kMostExact));
}

std::vector<Whose> WhoseOf(const Napi::Value& value) {
  const Napi::Array list = RequireArray(value, "whose");
  if (list.Length() == 0 || list.Length() > kMostWhose) {
    ThrowArgument(value.Env(), "whose", "must be some users, and not too many");
  }
  std::vector<Whose> all;
  for (uint32_t index = 0; index < list.Length(); ++index) {
    const std::string name = "whose[" + std::to_string(index) + "]";
    const Napi::Object one = RequireObject(list.Get(index), name);
    Whose whose;
    whose.uid = static_cast<uid_t>(
        RequireInteger(one.Get("uid"), name + ".uid", 0, std::numeric_limits<uint32_t>::max()));
    whose.session = OptionalNumber(one.Get("session"), name + ".session", kAnySession);
    whose.since = OptionalNumber(one.Get("since"), name + ".since", 0);
    all.push_back(whose);
  }
  return all;
}

Napi::Value LookForProcesses(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int source = RequireFd(info[0], "proc").Get();
  const Napi::Object question = RequireObject(info[1], "question");
  Look look;
  if (!question.Get("whose").IsUndefined()) look.whose = WhoseOf(question.Get("whose"));
  if (!question.Get("pids").IsUndefined()) look.pids = Pids(question.Get("pids"), "pids");
  if (!question.Get("except").IsUndefined()) {
    const std::vector<int> except = Pids(question.Get("except"), "except");
    look.except.insert(except.begin(), except.end());
  }
  if (!question.Get("holding").IsUndefined()) {
    look.holding = uint64_t{1} << RequireInt(question.Get("holding"), "holding", 0, 63);
  }
  if (!question.Get("tracedBy").IsUndefined()) {
    look.tracer = RequireInt(question.Get("tracedBy"), "tracedBy", 1, kMostPids);
  }
  // Opened anew, so that the directory has its own read position.
  UniqueFd proc(Check(env, "openat", ::openat(source, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  return Elsewhere(env, std::make_shared<Looking>(std::move(proc), std::move(look)));
}

}  // namespace

void ExportHolders(Napi::Env env, Napi::Object exports) {
  exports.Set("lookForProcesses", Napi::Function::New(env, LookForProcesses, "lookForProcesses"));
}

}  // namespace criu_service
