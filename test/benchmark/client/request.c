// request [-s] ADDRESS KIND [COUNT | PID] [DIRECTORY]: makes requests one after the other, prints
// the nanoseconds of each.
//
//   version COUNT     features COUNT     check COUNT DIRECTORY     restore DIRECTORY
//   dump PID DIRECTORY (leaves it running)     take PID DIRECTORY (dumps it for good)
//   tree PID (a dump that fails once the tree was looked at: there is no such directory)
//
// -s connects to a stream socket: Node knows no other kind without an addon, see
// inside/nothing.cjs.
#include <fcntl.h>
#include <stdio.h>

#include "clock.h"
#include "exchange.h"

static int open_directory(const char* path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) err(1, "%s", path);
  return fd;
}

int main(int argc, char** argv) {
  int kind_of_socket = SOCK_SEQPACKET;
  if (argc > 1 && !strcmp(argv[1], "-s")) {
    kind_of_socket = SOCK_STREAM;
    argc--, argv++;
  }
  if (argc < 4) errx(2, "usage: request [-s] ADDRESS KIND [COUNT | PID] [DIRECTORY]");
  const struct sockaddr_un address = address_of(argv[1]);
  const char *kind = argv[2], *last = argv[argc - 1];
  struct options options = {.images_dir_fd = -1};
  enum request_type type;
  enum expected expected = SUCCESS;
  int count = 1;

  if (!strcmp(kind, "version")) {
    type = VERSION;
    count = atoi(argv[3]);
  } else if (!strcmp(kind, "features")) {
    type = FEATURE_CHECK;
    count = atoi(argv[3]);
  } else if (!strcmp(kind, "check")) {
    type = CHECK;
    count = atoi(argv[3]);
    options = (struct options){.images_dir_fd = open_directory(last), .log_file = "check.log"};
  } else if (!strcmp(kind, "restore")) {
    type = RESTORE;
    options = (struct options){.images_dir_fd = open_directory(last), .log_file = "restore.log"};
  } else if (!strcmp(kind, "dump") || !strcmp(kind, "take")) {
    type = DUMP;
    options = (struct options){.images_dir_fd = open_directory(last),
                               .pid = atoi(argv[3]),
                               .leave_running = kind[0] == 'd',
                               .log_file = "dump.log"};
  } else if (!strcmp(kind, "tree")) {
    type = DUMP;
    expected = ANY_ANSWER;
    options = (struct options){.images_dir_fd = 9999, .pid = atoi(argv[3]), .log_file = "dump.log"};
  } else {
    errx(2, "%s: no such kind", kind);
  }

  const struct packet request = make_request(type, &options);
  // A client that is ended in the middle has still printed its measurements.
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (int i = 0; i < count; i++) {
    int fd = make_socket(kind_of_socket);
    int64_t began = now_ns();
    exchange(fd, &address, &request, type, expected);
    printf("%lld\n", (long long)(now_ns() - began));
    close(fd);
  }
  return 0;
}
