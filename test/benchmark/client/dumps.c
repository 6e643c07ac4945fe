// dumps ADDRESS|criu DIRECTORY PID...: dumps all of them at the same time and leaves them running.
// Each uses the directory named after its pid below DIRECTORY, which must exist. Prints the
// nanoseconds until the last has its answer.
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>

#include "clock.h"
#include "exchange.h"

static void dump_through(const char* path, const char* directory, int pid) {
  const struct sockaddr_un address = address_of(path);
  int images = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (images < 0) err(1, "%s", directory);
  const struct options options = {
      .images_dir_fd = images, .pid = pid, .leave_running = true, .log_file = "dump.log"};
  const struct packet request = make_request(DUMP, &options);
  exchange(make_socket(SOCK_SEQPACKET), &address, &request, DUMP, SUCCESS);
}

static void dump_by_command(const char* directory, const char* pid) {
  const int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; fd++) dup2(null, fd);
  execlp("criu", "criu", "dump", "--tree", pid, "--images-dir", directory, "--leave-running",
         "--log-file", "dump.log", NULL);
  err(1, "criu");
}

int main(int argc, char** argv) {
  if (argc < 4) errx(2, "usage: dumps ADDRESS|criu DIRECTORY PID...");
  const int64_t began = now_ns();
  for (int i = 3; i < argc; i++) {
    const pid_t child = fork();
    if (child < 0) err(1, "fork");
    if (child) continue;
    char directory[256];
    snprintf(directory, sizeof(directory), "%s/%s", argv[2], argv[i]);
    if (!strcmp(argv[1], "criu")) dump_by_command(directory, argv[i]);
    dump_through(argv[1], directory, atoi(argv[i]));
    _exit(0);
  }
  int failed = 0, status;
  while (wait(&status) > 0) failed += status != 0;
  const int64_t took = now_ns() - began;
  if (failed) errx(1, "%d of %d dumps failed", failed, argc - 3);
  printf("%lld\n", (long long)took);
  return 0;
}
