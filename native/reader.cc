// Reading what may block: /proc of a process that may be inside execve(2).
//
// Its ns/* links and auxv wait for exec to finish (exec_update_lock in the kernel's fs/exec.c), and
// exec waits for a file system to flush what close-on-exec closes, which a FUSE server can put off
// for as long as it likes. So such a reading is done on a thread that may be lost.
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "addon.h"
#include "args.h"
#include "error.h"

namespace criu_service {
namespace {

// One thread's frames are small: a page of a buffer, and libc's.
constexpr size_t kStackSize = size_t{256} * 1024;
// No file that is asked for is as long; what is longer is not what it should be.
constexpr size_t kLargestFile = size_t{256} * 1024;

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

Answer ReadAll(const UniqueFd& file) {
  Answer answer;
  std::array<char, 4096> part{};
  while (answer.text.size() <= kLargestFile) {
    const ssize_t count =
        RetryOnSignal([&] { return ::read(file.Get(), part.data(), part.size()); });
    if (count == -1) return Failed(errno);
    if (count == 0) return answer;
    answer.text.append(part.data(), static_cast<size_t>(count));
  }
  return Failed(EFBIG);
}

Answer ReadFile(const UniqueFd& directory, const std::string& path) {
  const UniqueFd file = OpenBelow(directory, path, O_RDONLY);
  return file.IsOpen() ? ReadAll(file) : Failed(errno);
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
  // The stream is this thread's alone, which is what readdir(3) asks for.
  while (const dirent* entry = ::readdir(stream.get())) {  // NOLINT(concurrency-mt-unsafe)
    const std::string_view name = static_cast<const char*>(entry->d_name);
    if (name != "." && name != "..") answer.text.append(name).push_back('\n');
    errno = 0;
  }
  return errno == 0 ? answer : Failed(errno);
}

// O_PATH follows the link without asking the file system behind it anything.
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

Answer Read(const UniqueFd& directory, const Question& question) {
  if (question.read == "file") return ReadFile(directory, question.path);
  if (question.read == "link") return ReadLink(directory, question.path);
  if (question.read == "names") return ReadNames(directory, question.path);
  return ReadMount(directory, question.path);
}

// The thread's own; what it shares with JavaScript is handed over when it is done.
struct Reading {
  UniqueFd directory;
  std::vector<Question> questions;
  std::vector<Answer> answers;
};

struct Waiting {
  explicit Waiting(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}
  Napi::Promise::Deferred deferred;
};

Napi::Value AnswerValue(Napi::Env env, const Answer& answer) {
  if (answer.failure != 0) return Napi::Number::New(env, answer.failure);
  // As Latin-1: each byte is a character, whatever a process calls itself.
  napi_value text = nullptr;
  if (napi_create_string_latin1(env, answer.text.data(), answer.text.size(), &text) != napi_ok) {
    return Napi::Number::New(env, ENOMEM);
  }
  return {env, text};
}

void Deliver(Napi::Env env, Napi::Function, Waiting* waiting, Reading* reading) {
  const std::unique_ptr<Reading> done(reading);
  // Without an environment nobody waits any more.
  if (static_cast<napi_env>(env) == nullptr) return;
  Napi::Array answers = Napi::Array::New(env, done->answers.size());
  for (uint32_t index = 0; index < done->answers.size(); ++index) {
    answers.Set(index, AnswerValue(env, done->answers[index]));
  }
  waiting->deferred.Resolve(answers);
}

using Delivery = Napi::TypedThreadSafeFunction<Waiting, Reading, Deliver>;

struct Job {
  std::unique_ptr<Reading> reading;
  Delivery delivery;
};

void* Run(void* data) {
  const std::unique_ptr<Job> job(static_cast<Job*>(data));
  for (const Question& question : job->reading->questions) {
    job->reading->answers.push_back(Read(job->reading->directory, question));
  }
  job->reading->directory.Reset();
  Reading* reading = job->reading.release();
  // An environment that has ended takes nothing.
  if (job->delivery.BlockingCall(reading) != napi_ok) delete reading;
  job->delivery.Release();
  return nullptr;
}

int StartThread(std::unique_ptr<Job>& job) {
  pthread_attr_t attributes;
  int failure = ::pthread_attr_init(&attributes);
  if (failure != 0) return failure;
  pthread_t thread{};
  failure = ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  if (failure == 0) failure = ::pthread_attr_setstacksize(&attributes, kStackSize);
  if (failure == 0) failure = ::pthread_create(&thread, &attributes, Run, job.get());
  // The thread's from here on.
  if (failure == 0) static_cast<void>(job.release());
  ::pthread_attr_destroy(&attributes);
  return failure;
}

std::vector<Question> Questions(const Napi::Value& value) {
  const Napi::Array list = RequireArray(value, "questions");
  std::vector<Question> questions;
  questions.reserve(list.Length());
  for (uint32_t index = 0; index < list.Length(); ++index) {
    const std::string name = "questions[" + std::to_string(index) + "]";
    const Napi::Object question = RequireObject(list.Get(index), name);
    const std::string read = RequireString(question.Get("read"), name + ".read");
    if (read != "file" && read != "link" && read != "names" && read != "mount") {
      ThrowArgument(value.Env(), name + ".read", "must be file, link, names or mount");
    }
    questions.push_back({read, RequireString(question.Get("path"), name + ".path")});
  }
  return questions;
}

Napi::Value ReadElsewhere(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int source = RequireFd(info[0], "directory").Get();
  auto reading = std::make_unique<Reading>();
  reading->questions = Questions(info[1]);
  // A copy, because the reading may outlast whoever asked for it.
  reading->directory.Reset(Check(env, "fcntl", ::fcntl(source, F_DUPFD_CLOEXEC, 0)));

  auto* waiting = new Waiting(env);
  const Napi::Promise promise = waiting->deferred.Promise();
  Delivery delivery = Delivery::New(env, "criu-service:reading", 0, 1, waiting,
                                    [](Napi::Env, void*, Waiting* done) { delete done; });
  // A thread that is lost must not keep the service from leaving.
  delivery.Unref(env);
  auto job = std::unique_ptr<Job>(new Job{std::move(reading), delivery});
  const int failure = StartThread(job);
  if (failure != 0) {
    delivery.Release();
    throw SystemError(env, "pthread_create", failure);
  }
  return promise;
}

}  // namespace

void ExportReader(Napi::Env env, Napi::Object exports) {
  exports.Set("readElsewhere", Napi::Function::New(env, ReadElsewhere, "readElsewhere"));
}

}  // namespace criu_service
