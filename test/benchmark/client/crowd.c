// crowd ADDRESS CLIENTS MILLISECONDS: that many processes ask for VERSION as fast as they get
// answers. Prints requests a second.
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "clock.h"
#include "exchange.h"

int main(int argc, char** argv) {
  if (argc != 4) errx(2, "usage: crowd ADDRESS CLIENTS MILLISECONDS");
  const struct sockaddr_un address = address_of(argv[1]);
  const int clients = atoi(argv[2]);
  const struct packet request = make_request(VERSION, &(struct options){.images_dir_fd = -1});
  atomic_long* answers =
      mmap(NULL, sizeof(*answers), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (answers == MAP_FAILED) err(1, "mmap");

  // All clients begin together, once each of them is ready.
  const int64_t begin = now_ns() + 100 * 1000000, end = begin + atoll(argv[3]) * 1000000;
  for (int i = 0; i < clients; i++) {
    pid_t child = fork();
    if (child < 0) err(1, "fork");
    if (child) continue;
    while (now_ns() < begin) usleep(1000);
    while (now_ns() < end) {
      int fd = make_socket(SOCK_SEQPACKET);
      exchange(fd, &address, &request, VERSION, SUCCESS);
      close(fd);
      if (now_ns() < end) (*answers)++;
    }
    _exit(0);
  }

  int failed = 0, status;
  while (wait(&status) > 0) failed += status != 0;
  if (failed) errx(1, "%d of %d clients failed", failed, clients);
  printf("%.1f\n", (double)*answers * 1e9 / (double)(end - begin));
  return 0;
}
