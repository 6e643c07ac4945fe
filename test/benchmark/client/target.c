// target MEGABYTES FILE: fills that much memory with incompressible bytes, makes the file when it
// is ready, and waits.
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc != 3) errx(2, "usage: target MEGABYTES FILE");
  const size_t size = strtoull(argv[1], NULL, 10) << 20;
  uint64_t* memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) err(1, "mmap");
  uint64_t state = 88172645463325252;
  for (size_t i = 0; i < size / sizeof(*memory); i++) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    memory[i] = state;
  }
  int fd = open(argv[2], O_CREAT | O_WRONLY, 0600);
  if (fd < 0) err(1, "%s", argv[2]);
  close(fd);
  for (;;) pause();
}
