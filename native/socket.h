// The SeqpacketSocket of binding.ts: one fd, at most one poll handle.
#pragma once

#include <sys/socket.h>

#include <memory>
#include <optional>

#include "fd.h"
#include "napi_headers.h"
#include "poll.h"

namespace criu_service {

class SeqpacketSocket : public Napi::ObjectWrap<SeqpacketSocket>, private PollListener {
 public:
  static Napi::Function Define(Napi::Env env);
  // Makes the JavaScript object. If this throws, `fd` still owns the descriptor. `accepted`: the
  // peer has connected, and each of its packets must name its sender.
  static Napi::Object New(Napi::Env env, UniqueFd& fd, bool accepted = false);

  explicit SeqpacketSocket(const Napi::CallbackInfo& info);

 private:
  // The head of the queue, found without consuming it.
  struct Head {
    enum class Kind { kPacket, kEmptyPacket, kEnd, kNothing };
    Kind kind;
    size_t size;
    bool carries_fds;
    // True if the sender is not the user who connected.
    bool foreign;
    // True if the sender is another process than the one that connected.
    bool passed_on = false;
  };

  // socket.cc: life and polling.
  Napi::Value Fd(const Napi::CallbackInfo& info);
  Napi::Value Inode(const Napi::CallbackInfo& info);
  Napi::Value PeerLeftUnread(const Napi::CallbackInfo& info);
  void Watch(const Napi::CallbackInfo& info);
  Napi::Value Accept(const Napi::CallbackInfo& info);
  void Shutdown(const Napi::CallbackInfo& info);
  Napi::Value Copy(const Napi::CallbackInfo& info);
  Napi::Value ReleaseMethod(const Napi::CallbackInfo& info);
  void CloseMethod(const Napi::CallbackInfo& info);
  void OnPoll(int status, int events) override;
  void StopWatching();
  void Close();
  // The descriptor. Throws EBADF if it was closed or given away.
  int Require(Napi::Env env, const char* syscall) const;

  // packet.cc: packets on the connection.
  Napi::Value Peek(const Napi::CallbackInfo& info);
  Napi::Value HeadCarriesFds(const Napi::CallbackInfo& info);
  Napi::Value HeadTerminal(const Napi::CallbackInfo& info);
  Napi::Value Discard(const Napi::CallbackInfo& info);
  Napi::Value Receive(const Napi::CallbackInfo& info);
  Napi::Value Send(const Napi::CallbackInfo& info);
  Head Look(Napi::Env env, int fd, void* buffer, size_t room);
  Head LookWithSender(Napi::Env env, int fd, void* buffer, size_t room);

  // peer.cc: the kernel's knowledge about the other end.
  Napi::Value PeerCredentials(const Napi::CallbackInfo& info);
  Napi::Value PeerGroups(const Napi::CallbackInfo& info);
  Napi::Value PeerPidfd(const Napi::CallbackInfo& info);
  Napi::Value PeerSecurityLabel(const Napi::CallbackInfo& info);
  Napi::Value PeerUidMap(const Napi::CallbackInfo& info);
  Napi::Value RefuseFds(const Napi::CallbackInfo& info);

  UniqueFd fd_;
  // Made by the first watch() and kept until close() or release(). Declared after the descriptor,
  // so that it is destroyed first. A watching object keeps itself alive, so only the end of the
  // environment destroys it, and the environment's clean-up has closed the handle by then.
  std::unique_ptr<Poll> poll_;
  int watched_ = 0;
  bool left_unread_ = false;
  // The peer at connect(2), if each packet names its sender.
  std::optional<ucred> connected_;
  Napi::FunctionReference callback_;
};

}  // namespace criu_service
