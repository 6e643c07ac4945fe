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
  // Makes the JavaScript object. When that throws, `fd` still owns the descriptor.
  // `accepted`: its peer has connected, and each of its packets is to tell who sent it.
  static Napi::Object New(Napi::Env env, UniqueFd& fd, bool accepted = false);

  explicit SeqpacketSocket(const Napi::CallbackInfo& info);

 private:
  // What waits at the head of the queue, found without consuming it.
  struct Head {
    enum class Kind { kPacket, kEmptyPacket, kEnd, kNothing };
    Kind kind;
    size_t size;
    bool carries_fds;
    // Sent by somebody else than who has connected.
    bool foreign;
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
  // The descriptor, or EBADF when it was closed or given away.
  int Require(Napi::Env env, const char* syscall) const;

  // packet.cc: what goes over the connection.
  Napi::Value Peek(const Napi::CallbackInfo& info);
  Napi::Value HeadCarriesFds(const Napi::CallbackInfo& info);
  Napi::Value HeadTerminal(const Napi::CallbackInfo& info);
  Napi::Value Discard(const Napi::CallbackInfo& info);
  Napi::Value Receive(const Napi::CallbackInfo& info);
  Napi::Value Send(const Napi::CallbackInfo& info);
  Head Look(Napi::Env env, int fd, void* buffer, size_t room);
  Head LookWithSender(Napi::Env env, int fd, void* buffer, size_t room);

  // peer.cc: what the kernel knows about the other end.
  Napi::Value PeerCredentials(const Napi::CallbackInfo& info);
  Napi::Value PeerGroups(const Napi::CallbackInfo& info);
  Napi::Value PeerPidfd(const Napi::CallbackInfo& info);
  Napi::Value PeerSecurityLabel(const Napi::CallbackInfo& info);
  Napi::Value PeerUidMap(const Napi::CallbackInfo& info);
  Napi::Value RefuseFds(const Napi::CallbackInfo& info);

  UniqueFd fd_;
  // Made by the first watch() and kept until close() or release(). Declared after the descriptor,
  // so that it goes first; an object that is watching keeps itself alive, so that only the end of
  // the environment destroys one, whose clean-up has closed the handle by then.
  std::unique_ptr<Poll> poll_;
  int watched_ = 0;
  bool left_unread_ = false;
  // Who has connected, where each packet tells who sent it.
  std::optional<ucred> connected_;
  Napi::FunctionReference callback_;
};

}  // namespace criu_service
