/* Stands for the launcher, with an engine that a bug in CRIU has made its caller's: answers that the engine is ready, with the
 * time namespace 7, and then what the file NAME.says says: the same with the time namespace 8, or the question for clocks. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char packet[56 + 256 + 4096];

static void answer(uint32_t kind, size_t size, int64_t value) {
  const uint32_t head[4] = {0x484c5243, 4, kind, 0};
  memcpy(packet, head, sizeof head);
  memcpy(packet + 32, &value, sizeof value);
  send(3, packet, size, MSG_NOSIGNAL);
}

int main(void) {
  char request[1 << 16], path[4096], says[16] = "";
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 8);
  if (length < 0 || recv(3, request, sizeof request, 0) <= 0) return 1;
  strcpy(path + length, ".says");
  FILE *file = fopen(path, "re");
  if (!file || !fgets(says, sizeof says, file)) return 1;
  fclose(file);
  answer(0, 40, 7);
  if (says[0] == 'r') answer(0, 40, 8);
  if (says[0] == 'c') answer(3, sizeof packet, 0);
  answer(2, 40, 0);
  pause();
  return 0;
}
