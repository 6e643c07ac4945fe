// Reads /proc: synchronously, or on another thread where reading may block.
//
// The ns/* links and auxv of a process inside execve(2) wait for exec to finish (exec_update_lock
// in the kernel's fs/exec.c). Exec waits for a file system to flush the files that close-on-exec
// closes, and a FUSE server can delay that for as long as it likes. So such a reading gets a thread
// that may be lost.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "addon.h"
#include "args.h"
#include "elsewhere.h"
#include "error.h"

namespace criu_service {
namespace {

// Longer than any file that is read. A longer file is refused.
constexpr size_t kLargestFile = size_t{256} * 1024;
// A thread may be in 65,536 groups, and may have forked as many children as its user may run.
constexpr size_t kLargestThreadFile = size_t{1024} * 1024;
// A process with this many threads is always refused.
constexpr size_t kMostThreads = 100'001;

// A healthy system has shorter chains. The bound ends a reading that races with reparenting, in
// which the parents may form a cycle.
constexpr int kMostAncestors = 100'000;

constexpr std::array<std::string_view, 6> kKinds = {"file",  "link",  "names",
                                                    "mount", "tasks", "lineage"};
constexpr std::string_view kGroupsLine = "Groups:\t";
constexpr std::array<std::string_view, 11> kThreadLines = {
    "State:\t",  "Pid:\t",    "TracerPid:\t", "Uid:\t",        "Gid:\t",    kGroupsLine,
    "CapInh:\t", "CapPrm:\t", "CapBnd:\t",    "NoNewPrivs:\t", "Seccomp:\t"};
// CRIU compares up to 512 groups without root (MAX_GETGROUPS_CHECKED), of up to 11 characters each.
constexpr size_t kLongestGroups = size_t{8} * 1024;
// The threads of a process may differ, and a user with subordinate gids chooses up to 65,536 groups
// for each.
constexpr size_t kMostGroupsText = size_t{64} * 1024;

struct Question {
  std::string read;
  std::string path;
};

struct Answer {
  int failure = 0;
  std::string text;
};

Answer Failed(int failure) { return {failure, {}}; }

UniqueFd OpenBelow(const UniqueFd& directory, const std::string& path, int flags) {
  return UniqueFd(RetryOnSignal([&] {
    return ::openat(directory.Get(), path.c_str(), flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  }));
}

Answer ReadAll(const UniqueFd& file, size_t largest = kLargestFile) {
  Answer answer;
  std::array<char, 4096> part{};
  while (answer.text.size() <= largest) {
    const ssize_t count =
        RetryOnSignal([&] { return ::read(file.Get(), part.data(), part.size()); });
    if (count == -1) return Failed(errno);
    if (count == 0) return answer;
    answer.text.append(part.data(), static_cast<size_t>(count));
  }
  return Failed(EFBIG);
}

Answer ReadFile(const UniqueFd& directory, const std::string& path, size_t largest = kLargestFile) {
  const UniqueFd file = OpenBelow(directory, path, O_RDONLY);
  return file.IsOpen() ? ReadAll(file, largest) : Failed(errno);
}

Answer ReadLink(const UniqueFd& directory, const std::string& path) {
  std::array<char, PATH_MAX> target{};
  const ssize_t length = ::readlinkat(directory.Get(), path.c_str(), target.data(), target.size());
  if (length == -1) return Failed(errno);
  return {0, std::string(target.data(), static_cast<size_t>(length))};
}

struct DirectoryCloser {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

Answer ReadNames(const UniqueFd& directory, const std::string& path) {
  UniqueFd fd = OpenBelow(directory, path, O_RDONLY | O_DIRECTORY);
  if (!fd.IsOpen()) return Failed(errno);
  const std::unique_ptr<DIR, DirectoryCloser> stream(::fdopendir(fd.Get()));
  if (stream == nullptr) return Failed(errno);
  fd.Release();
  Answer answer;
  errno = 0;
  // Only this thread uses the stream, as readdir(3) demands.
  while (const dirent* entry = ::readdir(stream.get())) {  // NOLINT(concurrency-mt-unsafe)
    const std::string_view name = static_cast<const char*>(entry->d_name);
    if (name != "." && name != "..") answer.text.append(name).push_back('\n');
    errno = 0;
  }
  return errno == 0 ? answer : Failed(errno);
}

// O_PATH follows the link without a question to the file system behind it.
Answer ReadMount(const UniqueFd& directory, const std::string& path) {
  const UniqueFd at = OpenBelow(directory, path, O_PATH | O_DIRECTORY);
  if (!at.IsOpen()) return Failed(errno);
  Answer target = ReadLink(directory, path);
  if (target.failure != 0) return target;
  const std::string information = "/proc/self/fdinfo/" + std::to_string(at.Get());
  const UniqueFd file(::open(information.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.IsOpen()) return Failed(errno);
  Answer all = ReadAll(file);
  if (all.failure != 0) return all;
  return {0, target.text + '\n' + all.text};
}

bool HasEnded(const Answer& answer) { return answer.failure == ENOENT || answer.failure == ESRCH; }

// The groups of a process's threads: each list once, as long as the lists are short.
class GroupsText {
 public:
  // The line for a thread: its groups, `=` for those of the thread before, or `+` for a list that
  // is too long.
  std::string Line(std::string_view line) {
    const std::string_view groups = line.substr(kGroupsLine.size());
    if (has_last_ && groups == last_) return std::string(kGroupsLine) + "=\n";
    if (groups.size() > kLongestGroups || groups.size() > left_) {
      return std::string(kGroupsLine) + "+\n";
    }
    left_ -= groups.size();
    last_ = groups;
    has_last_ = true;
    return std::string(line) + '\n';
  }

 private:
  size_t left_ = kMostGroupsText;
  std::string last_;
  bool has_last_ = false;
};

// Appends a thread's lines of status that identify it, in the kernel's order, and its children. A
// thread that has exited meanwhile adds nothing. Returns 0 or an errno: a thread that is unreadable
// for any other reason must not look like an absent thread.
int AppendThread(const UniqueFd& directory, const std::string& thread, const Answer& status,
                 GroupsText* groups, std::string* text) {
  if (status.failure != 0) return HasEnded(status) ? 0 : status.failure;
  const Answer children = ReadFile(directory, thread + "/children", kLargestThreadFile);
  if (children.failure != 0) return HasEnded(children) ? 0 : children.failure;
  for (size_t begin = 0; begin < status.text.size();) {
    size_t end = status.text.find('\n', begin);
    if (end == std::string::npos) end = status.text.size();
    const std::string_view line = std::string_view(status.text).substr(begin, end - begin);
    for (const std::string_view name : kThreadLines) {
      if (line.substr(0, name.size()) != name) continue;
      text->append(name == kGroupsLine ? groups->Line(line) : std::string(line) + '\n');
    }
    begin = end + 1;
  }
  text->append("Children:\t").append(children.text).push_back('\n');
  return 0;
}

// Reads a whole process in one call, because a tree has thousands of processes.
Answer ReadTasks(const UniqueFd& directory, const std::string& process) {
  Answer answer;
  GroupsText groups;
  // Most processes have one thread. For them, skip a file and the directory listing.
  const Answer leader = ReadFile(directory, process + "/status", kLargestThreadFile);
  if (leader.failure == 0 && leader.text.find("\nThreads:\t1\n") != std::string::npos) {
    const std::string thread = process + "/task/" + process;
    const int failure = AppendThread(directory, thread, leader, &groups, &answer.text);
    return failure == 0 ? answer : Failed(failure);
  }
  Answer names = ReadNames(directory, process + "/task");
  if (names.failure != 0) return names;
  for (size_t begin = 0, count = 0; begin < names.text.size() && count < kMostThreads; ++count) {
    const size_t end = names.text.find('\n', begin);
    const std::string thread = process + "/task/" + names.text.substr(begin, end - begin);
    const int failure =
        AppendThread(directory, thread, ReadFile(directory, thread + "/status", kLargestThreadFile),
                     &groups, &answer.text);
    if (failure != 0) return Failed(failure);
    begin = end + 1;
  }
  return answer;
}

// PPid of proc_pid_status(5); -1 if the process has exited. Reading `stat` may wait as long as the
// process is inside execve(2), which its owner can make last (a file system that never answers a
// close; ptrace_may_access() under exec_update_lock in Linux 6.18). `status` never waits.
int Parent(const Answer& status) {
  constexpr std::string_view kLine = "\nPPid:\t";
  const size_t at = status.text.find(kLine);
  if (at == std::string::npos) return -1;
  return static_cast<int>(std::strtol(status.text.c_str() + at + kLine.size(), nullptr, 10));
}

// A process and its ancestors, each followed by a space, up to a process that has no parent or has
// exited.
Answer ReadLineage(const UniqueFd& directory, const std::string& process) {
  Answer answer;
  std::string current = process;
  for (int count = 0; count < kMostAncestors; ++count) {
    answer.text.append(current).push_back(' ');
    const int parent = Parent(ReadFile(directory, current + "/status", kLargestThreadFile));
    if (parent <= 0) break;
    current = std::to_string(parent);
  }
  return answer;
}

Answer Read(const UniqueFd& directory, const Question& question) {
  if (question.read == "file") return ReadFile(directory, question.path);
  if (question.read == "link") return ReadLink(directory, question.path);
  if (question.read == "names") return ReadNames(directory, question.path);
  if (question.read == "tasks") return ReadTasks(directory, question.path);
  if (question.read == "lineage") return ReadLineage(directory, question.path);
  return ReadMount(directory, question.path);
}

Napi::Value AnswerValue(Napi::Env env, const Answer& answer) {
  if (answer.failure != 0) return Napi::Number::New(env, answer.failure);
  // Latin-1 maps each byte to one character, so a process may have any name.
  napi_value text = nullptr;
  if (napi_create_string_latin1(env, answer.text.data(), answer.text.size(), &text) != napi_ok) {
    return Napi::Number::New(env, ENOMEM);
  }
  return {env, text};
}

Napi::Array AnswerValues(Napi::Env env, const std::vector<Answer>& answers) {
  Napi::Array values = Napi::Array::New(env, answers.size());
  for (uint32_t index = 0; index < answers.size(); ++index) {
    values.Set(index, AnswerValue(env, answers[index]));
  }
  return values;
}

class Reading : public Task {
 public:
  Reading(UniqueFd directory, std::vector<Question> questions)
      : directory_(std::move(directory)), questions_(std::move(questions)) {}

  void Run() override {
    for (const Question& question : questions_) answers_.push_back(Read(directory_, question));
    directory_.Reset();
  }

  Napi::Value Result(Napi::Env env) override { return AnswerValues(env, answers_); }

 private:
  UniqueFd directory_;
  std::vector<Question> questions_;
  std::vector<Answer> answers_;
};

std::vector<Question> Questions(const Napi::Value& value) {
  const Napi::Array list = RequireArray(value, "questions");
  std::vector<Question> questions;
  questions.reserve(list.Length());
  for (uint32_t index = 0; index < list.Length(); ++index) {
    const std::string name = "questions[" + std::to_string(index) + "]";
    const Napi::Object question = RequireObject(list.Get(index), name);
    const std::string read = RequireString(question.Get("read"), name + ".read");
    if (std::find(kKinds.begin(), kKinds.end(), read) == kKinds.end()) {
      ThrowArgument(value.Env(), name + ".read",
                    "must be file, link, names, mount, tasks or lineage");
    }
    questions.push_back({read, RequireString(question.Get("path"), name + ".path")});
  }
  return questions;
}

Napi::Value ReadAtOnce(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  // A copy, which stays open during this call.
  const UniqueFd directory(
      Check(env, "fcntl", ::fcntl(RequireFd(info[0], "directory").Get(), F_DUPFD_CLOEXEC, 0)));
  std::vector<Answer> answers;
  for (const Question& question : Questions(info[1])) answers.push_back(Read(directory, question));
  return AnswerValues(env, answers);
}

Napi::Value ParentOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int pid = RequireInt(info[0], "pid", 1, std::numeric_limits<int>::max());
  const std::string path = "/proc/" + std::to_string(pid) + "/status";
  const UniqueFd file(RetryOnSignal([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  if (!file.IsOpen()) return env.Undefined();
  const int parent = Parent(ReadAll(file, kLargestThreadFile));
  return parent < 0 ? env.Undefined() : Napi::Number::New(env, parent);
}

Napi::Value ReadElsewhere(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int source = RequireFd(info[0], "directory").Get();
  std::vector<Question> questions = Questions(info[1]);
  // A copy, because the reading may outlast its caller's descriptor.
  UniqueFd directory(Check(env, "fcntl", ::fcntl(source, F_DUPFD_CLOEXEC, 0)));
  return Elsewhere(env, std::make_shared<Reading>(std::move(directory), std::move(questions)));
}

}  // namespace

void ExportReader(Napi::Env env, Napi::Object exports) {
  exports.Set("readAtOnce", Napi::Function::New(env, ReadAtOnce, "readAtOnce"));
  exports.Set("parentOf", Napi::Function::New(env, ParentOf, "parentOf"));
  exports.Set("readElsewhere", Napi::Function::New(env, ReadElsewhere, "readElsewhere"));
}

}  // namespace criu_service
