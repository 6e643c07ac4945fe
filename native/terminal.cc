#include "terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cstring>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "addon.h"
#include "args.h"
#include "error.h"

namespace criu_service {
namespace {

// Largest number of bytes of one read.
constexpr int kLargestRead = 1 << 16;
constexpr int kLargestSide = std::numeric_limits<unsigned short>::max();

Napi::Value AdoptTerminal(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  OwnedFd& owned = RequireFd(info[0], "fd");
  // Only a master has a number of its other end, ioctl_tty(2).
  int number = 0;
  Check(env, "ioctl", ::ioctl(owned.Get(), TIOCGPTN, &number), "TIOCGPTN");
  const int unlocked = 0;
  Check(env, "ioctl", ::ioctl(owned.Get(), TIOCSPTLCK, &unlocked), "TIOCSPTLCK");
  const int flags = Check(env, "fcntl", ::fcntl(owned.Get(), F_GETFL));
  Check(env, "fcntl", ::fcntl(owned.Get(), F_SETFL, flags | O_NONBLOCK));
  UniqueFd fd = owned.Take();
  return Addon::Of(env).terminal.New({Napi::External<UniqueFd>::New(env, &fd)});
}

}  // namespace

Napi::Function TerminalMaster::Define(Napi::Env env) {
  return DefineClass(env, "TerminalMaster",
                     {
                         InstanceMethod<&TerminalMaster::Watch>("watch"),
                         InstanceMethod<&TerminalMaster::Read>("read"),
                         InstanceMethod<&TerminalMaster::Write>("write"),
                         InstanceMethod<&TerminalMaster::Resize>("resize"),
                         InstanceMethod<&TerminalMaster::Copy>("copy"),
                         InstanceMethod<&TerminalMaster::OpenPeer>("openPeer"),
                         InstanceMethod<&TerminalMaster::CloseMethod>("close"),
                     });
}

TerminalMaster::TerminalMaster(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (!info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(), "a TerminalMaster comes only from a call of this addon");
  }
  fd_ = std::move(*info[0].As<Napi::External<UniqueFd>>().Data());
}

int TerminalMaster::Require(Napi::Env env, const char* syscall) const {
  if (!fd_.IsOpen()) throw SystemError(env, syscall, EBADF, "the terminal was closed");
  return fd_.Get();
}

void TerminalMaster::Watch(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int events = RequireInt(info[0], "events", 0, UV_READABLE | UV_WRITABLE);
  if (events == 0) {
    StopWatching();
    return;
  }
  const Napi::Function callback = RequireFunction(info[1], "callback");
  const int fd = Require(env, "uv_poll_start");
  if (!poll_) {
    PollListener& listener = *this;
    poll_ = std::make_unique<Poll>(env, Addon::Of(env).loop, fd, listener);
  }
  Napi::FunctionReference reference = Napi::Persistent(callback);
  const int failure = poll_->Start(events);
  if (failure != 0) throw SystemError(env, "uv_poll_start", failure);
  // From here on the watch exists and keeps this object alive.
  if (watched_ == 0) Ref();
  watched_ = events;
  callback_ = std::move(reference);
}

void TerminalMaster::StopWatching() {
  if (watched_ == 0) return;
  watched_ = 0;
  poll_->Stop();
  callback_.Reset();
  Unref();
}

void TerminalMaster::OnPoll(int status, int events) {
  const Napi::Env env = Env();
  // The callback may end the watch. These references keep the object and the function until it
  // returns.
  const Napi::Object self = Value();
  const Napi::Function callback = callback_.Value();
  // After a failure libuv has stopped polling. The next read tells its reason.
  if (status != 0) StopWatching();
  CallFromLoop(env, self, callback,
               {Napi::Number::New(env, status == 0 ? events : static_cast<int>(UV_READABLE))});
}

Napi::Value TerminalMaster::Read(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = Require(env, "read");
  std::vector<char> bytes(kLargestRead);
  const ssize_t count = RetryOnSignal([&] { return ::read(fd, bytes.data(), bytes.size()); });
  if (count > 0) return Napi::Buffer<char>::Copy(env, bytes.data(), static_cast<size_t>(count));
  if (count == -1 && errno == EAGAIN) return env.Undefined();
  // No process has the other end open any more (EIO, tty_read in the kernel's drivers/tty).
  if (count == 0 || errno == EIO) return env.Null();
  throw SystemError(env, "read", errno);
}

Napi::Value TerminalMaster::Write(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::span<const std::byte> bytes = RequireBytes(info[0], "bytes");
  const int fd = Require(env, "write");
  const ssize_t count = RetryOnSignal([&] { return ::write(fd, bytes.data(), bytes.size()); });
  if (count == -1 && errno != EAGAIN && errno != EIO) throw SystemError(env, "write", errno);
  return Napi::Number::New(env, count == -1 ? 0 : static_cast<double>(count));
}

void TerminalMaster::Resize(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  winsize size{};
  size.ws_row = static_cast<unsigned short>(RequireInt(info[0], "rows", 0, kLargestSide));
  size.ws_col = static_cast<unsigned short>(RequireInt(info[1], "columns", 0, kLargestSide));
  Check(env, "ioctl", ::ioctl(Require(env, "ioctl"), TIOCSWINSZ, &size), "TIOCSWINSZ");
}

Napi::Value TerminalMaster::Copy(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = Require(env, "fcntl");
  return OwnedFd::New(env, UniqueFd(Check(env, "fcntl", ::fcntl(fd, F_DUPFD_CLOEXEC, 0))));
}

Napi::Value TerminalMaster::OpenPeer(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  // By no path: /dev/pts may be another instance's.
  const int peer = ::ioctl(Require(env, "ioctl"), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  return OwnedFd::New(env, UniqueFd(Check(env, "ioctl", peer, "TIOCGPTPEER")));
}

void TerminalMaster::CloseMethod(const Napi::CallbackInfo&) {
  StopWatching();
  poll_.reset();
  fd_.Reset();
}

namespace {

// All bytes pass as they are, in both directions. The modes of Node's setRawMode() would turn each
// line feed of a full-screen program into a new line.
Napi::Value MakeRaw(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = RequireInt(info[0], "fd", 0, std::numeric_limits<int>::max());
  termios modes{};
  Check(env, "tcgetattr", ::tcgetattr(fd, &modes));
  auto before = Napi::Buffer<char>::Copy(env, reinterpret_cast<const char*>(&modes), sizeof modes);
  ::cfmakeraw(&modes);
  Check(env, "tcsetattr", ::tcsetattr(fd, TCSADRAIN, &modes));
  return before;
}

Napi::Value PutModes(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = RequireInt(info[0], "fd", 0, std::numeric_limits<int>::max());
  const std::span<const std::byte> bytes = RequireBytes(info[1], "modes");
  termios modes{};
  if (bytes.size() != sizeof modes) ThrowArgument(env, "modes", "must come from makeRaw()");
  std::memcpy(&modes, bytes.data(), sizeof modes);
  Check(env, "tcsetattr", ::tcsetattr(fd, TCSADRAIN, &modes));
  return env.Undefined();
}

}  // namespace

void ExportTerminals(Napi::Env env, Napi::Object exports) {
  exports.Set("makeRaw", Napi::Function::New<MakeRaw>(env, "makeRaw"));
  exports.Set("putModes", Napi::Function::New<PutModes>(env, "putModes"));
  exports.Set("adoptTerminal", Napi::Function::New<AdoptTerminal>(env, "adoptTerminal"));
}

}  // namespace criu_service
