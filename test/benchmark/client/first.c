// first SOCKET PROGRAM ARGUMENT...: listens at SOCKET in place of a service, runs the program with its
// streams on /dev/null, prints the nanoseconds from its start to the arrival of its first packet, and
// kills it.
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

extern char** environ;

enum { kPatienceMs = 60000 };

int main(int argc, char** argv) {
  if (argc < 3) errx(2, "usage: first SOCKET PROGRAM ARGUMENT...");
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(argv[1]) >= sizeof(address.sun_path)) errx(2, "%s is too long", argv[1]);
  strcpy(address.sun_path, argv[1]);
  unlink(argv[1]);
  const int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (listener < 0) err(1, "socket");
  if (bind(listener, (struct sockaddr*)&address, sizeof(address)) != 0) err(1, "%s", argv[1]);
  if (listen(listener, 1) != 0) err(1, "listen");

  posix_spawn_file_actions_t streams;
  posix_spawn_file_actions_init(&streams);
  for (int fd = 0; fd < 3; fd++)
    posix_spawn_file_actions_addopen(&streams, fd, "/dev/null", O_RDWR, 0);
  pid_t child;
  int64_t began = now_ns();
  errno = posix_spawnp(&child, argv[2], &streams, NULL, argv + 2, environ);
  if (errno) err(1, "%s", argv[2]);

  struct pollfd waits = {.fd = listener, .events = POLLIN};
  const int came = poll(&waits, 1, kPatienceMs);
  const int connection = came == 1 ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
  char byte;
  const ssize_t length = connection < 0 ? -1 : recv(connection, &byte, 1, 0);
  int64_t took = now_ns() - began;
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  if (length != 1) errx(1, "%s %s: it sent nothing", argv[2], argv[3] ? argv[3] : "");
  printf("%lld\n", (long long)took);
  return 0;
}
