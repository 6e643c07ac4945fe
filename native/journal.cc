// Sends records to the journal on a thread of its own.
//
// libsystemd's socket is blocking. If journald does not read (because it is stopped, or its disk is
// slow), the queue of that socket fills, and sd_journal_sendv(3) waits. Requests must not wait for
// that, so records are queued here, and refused if too many wait.
#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>

// Source locations are of no use to a reader of the journal.
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "addon.h"
#include "args.h"
#include "error.h"

namespace criu_service {
namespace {

using Record = std::vector<std::string>;

// More than a healthy journald leaves waiting, and a few megabytes at most.
constexpr size_t kMaxWaiting = 4096;

// Pause between attempts to reach a journal that is absent.
constexpr std::chrono::milliseconds kRestartPause{100};

class Writer {
 public:
  // Leaked, because its thread may be inside sendmsg(2) when the process ends.
  static Writer& Get() {
    static auto* writer = new Writer;
    return *writer;
  }

  // Returns false if the queue is full. Throws std::system_error if no thread can be started.
  bool Add(Record record) {
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.size() >= kMaxWaiting) return false;
      if (!started_) {
        Start();
        started_ = true;
      }
      waiting_.push_back(std::move(record));
    }
    // Notify without the mutex, because the woken thread takes it at once.
    wake_.notify_one();
    return true;
  }

  // Records that wait, plus the record that is being sent.
  size_t Pending() {
    const std::lock_guard lock(mutex_);
    return waiting_.size() + (sending_ ? 1 : 0);
  }

 private:
  void Start() {
    // Block all signals, so that Node's threads get them.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      std::thread([this] { Run(); }).detach();
    } catch (...) {
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
      throw;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  [[noreturn]] void Run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return !waiting_.empty(); });
      const Record record = std::move(waiting_.front());
      waiting_.pop_front();
      sending_ = true;
      lock.unlock();
      Send(record);
      lock.lock();
      sending_ = false;
    }
  }

  // ECONNREFUSED: the journal's socket has no reader, so journald is being restarted. Wait for it,
  // as for a journald that does not read. A journal that never existed (ENOENT, which libsystemd
  // reports as sent) is ignored.
  static void Send(const Record& record) {
    std::vector<iovec> parts;
    parts.reserve(record.size());
    for (const std::string& field : record) {
      parts.push_back({const_cast<char*>(field.data()), field.size()});
    }
    while (sd_journal_sendv(parts.data(), static_cast<int>(parts.size())) == -ECONNREFUSED) {
      std::this_thread::sleep_for(kRestartPause);
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Record> waiting_;
  bool started_ = false;
  bool sending_ = false;
};

// Checks a field before it is queued: sd_journal_sendv() would refuse a bad name later, when its
// writer can no longer be told.
bool IsField(const std::string& field) {
  const size_t name = field.find('=');
  return name != std::string::npos && name > 0 && name <= 64 &&
         std::all_of(field.begin(), field.begin() + static_cast<std::ptrdiff_t>(name), [](char c) {
           return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
         });
}

Napi::Value JournalSend(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Array fields = RequireArray(info[0], "fields");
  Record record;
  record.reserve(fields.Length());
  for (uint32_t index = 0; index < fields.Length(); ++index) {
    const std::span<const std::byte> bytes =
        RequireBytes(fields.Get(index), "fields[" + std::to_string(index) + "]");
    record.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!IsField(record.back())) throw SystemError(env, "sd_journal_sendv", EINVAL);
  }
  try {
    return Napi::Boolean::New(env, Writer::Get().Add(std::move(record)));
  } catch (const std::system_error& error) {
    throw SystemError(env, "pthread_create", error.code().value());
  }
}

Napi::Value JournalPending(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(Writer::Get().Pending()));
}

}  // namespace

void ExportJournal(Napi::Env env, Napi::Object exports) {
  exports.Set("journalSend", Napi::Function::New<JournalSend>(env, "journalSend"));
  exports.Set("journalPending", Napi::Function::New<JournalPending>(env, "journalPending"));
}

}  // namespace criu_service
