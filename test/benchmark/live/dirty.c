// dirty MEGABYTES FILE: fills that much memory with incompressible bytes, and waits for work, a line
// on the FIFO FILE: `PERCENT PART PARTS` writes to a part of so many of its pages, which are evenly
// spread. FILE.done gets a line for each work when it is done: the nanoseconds that it took.
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { kPage = 4096 };

static long long Now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char** argv) {
  if (argc != 3) errx(2, "usage: dirty MEGABYTES FILE");
  const size_t size = strtoull(argv[1], NULL, 10) << 20;
  uint64_t* memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) err(1, "mmap");
  // Pages of one size are measured.
  madvise(memory, size, MADV_NOHUGEPAGE);
  uint64_t state = 88172645463325252;
  for (size_t i = 0; i < size / sizeof(*memory); i++) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    memory[i] = state;
  }
  // Opened for both, so that it never ends.
  const int work = open(argv[2], O_RDWR);
  if (work < 0) err(1, "%s", argv[2]);
  char done[4096];
  snprintf(done, sizeof done, "%s.done", argv[2]);
  const int results = open(done, O_CREAT | O_WRONLY | O_APPEND, 0644);
  if (results < 0) err(1, "%s", done);
  dprintf(results, "0\n");
  char line[64];
  for (;;) {
    const ssize_t length = read(work, line, sizeof line - 1);
    if (length <= 0) continue;
    line[length] = '\0';
    size_t percent, part, parts;
    if (sscanf(line, "%zu %zu %zu", &percent, &part, &parts) != 3) errx(2, "%s", line);
    const size_t pages = size / kPage * percent / 100;
    const long long start = Now();
    for (size_t i = part; i < pages; i += parts)
      memory[i * 100 / percent * (kPage / sizeof(*memory))]++;
    dprintf(results, "%lld\n", Now() - start);
  }
}
