// silent ADDRESS COUNT: opens that many connections and sends nothing on them, until it is killed.
#include <stdio.h>

#include "exchange.h"

int main(int argc, char** argv) {
  if (argc != 3) errx(2, "usage: silent ADDRESS COUNT");
  const struct sockaddr_un address = address_of(argv[1]);
  for (int i = atoi(argv[2]); i > 0; i--) {
    int fd = make_socket(SOCK_SEQPACKET);
    if (connect(fd, (const struct sockaddr*)&address, sizeof(address)) < 0) err(1, "connect");
  }
  pause();
  return 0;
}
