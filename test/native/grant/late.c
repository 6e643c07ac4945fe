// In the place of criu-grant: does not end before it is killed, and then lets a child answer that all is well.
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void) {
  if (fork() == 0) {
    const pid_t parent = getppid();
    while (getppid() == parent) usleep(1000);
    const uint32_t answer[8] = {0x41525943, 2, 0, 2, 0, 0, 1, 0};
    send(3, answer, sizeof answer, MSG_NOSIGNAL);
    return 0;
  }
  for (;;) pause();
}
