// A request as any client makes it: connect, send, wait for the answer.
#pragma once
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "rpc.h"

static inline struct sockaddr_un address_of(const char* path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof(address.sun_path)) errx(2, "%s is too long", path);
  strcpy(address.sun_path, path);
  return address;
}

// Made before the clock starts, because it is the same for every service.
static inline int make_socket(int type) {
  int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  if (fd < 0) err(1, "socket");
  // A service that hangs fails one sample, not the whole run.
  const struct timeval patience = {.tv_sec = 60};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  return fd;
}

enum expected { SUCCESS, ANY_ANSWER };

static inline void exchange(int fd, const struct sockaddr_un* address, const struct packet* request,
                            enum request_type type, enum expected expected) {
  uint8_t answer[1024];
  if (connect(fd, (const struct sockaddr*)address, sizeof(*address)) < 0)
    err(1, "connect to %s", address->sun_path);
  if (send(fd, request->bytes, request->length, MSG_NOSIGNAL) < 0) err(1, "send");
  ssize_t length = recv(fd, answer, sizeof(answer), 0);
  if (length < 0) err(1, "recv");
  if (expected == SUCCESS && !succeeded(answer, (size_t)length, type))
    errx(1, "request type %d failed (%zd bytes)", type, length);
}
