// command PROGRAM ARGUMENT...: runs it with its streams on /dev/null, prints the nanoseconds from
// its start to its exit.
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>

#include "clock.h"

extern char** environ;

int main(int argc, char** argv) {
  if (argc < 2) errx(2, "usage: command PROGRAM ARGUMENT...");
  posix_spawn_file_actions_t streams;
  posix_spawn_file_actions_init(&streams);
  for (int fd = 0; fd < 3; fd++)
    posix_spawn_file_actions_addopen(&streams, fd, "/dev/null", O_RDWR, 0);

  pid_t child;
  int status;
  int64_t began = now_ns();
  errno = posix_spawnp(&child, argv[1], &streams, NULL, argv + 1, environ);
  if (errno) err(1, "%s", argv[1]);
  if (waitpid(child, &status, 0) < 0) err(1, "waitpid");
  int64_t took = now_ns() - began;
  if (status) errx(1, "%s %s: wait status %d", argv[1], argc > 2 ? argv[2] : "", status);
  printf("%lld\n", (long long)took);
  return 0;
}
