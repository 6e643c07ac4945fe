// forest COUNT FILE: a tree of that many processes, itself included; makes the file when all are
// there, and waits.
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc != 3) errx(2, "usage: forest COUNT FILE");
  for (int i = atoi(argv[1]) - 1; i > 0; i--) {
    const pid_t child = fork();
    if (child < 0) err(1, "fork");
    if (child) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  int fd = open(argv[2], O_CREAT | O_WRONLY, 0600);
  if (fd < 0) err(1, "%s", argv[2]);
  close(fd);
  for (;;) pause();
}
