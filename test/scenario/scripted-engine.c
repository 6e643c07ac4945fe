/*
 * Stands in for `criu swrk FD` where a test needs a fault at an exact moment.
 *
 * It is the interpreter of a script: the service takes the script as its criu, so the kernel starts
 *   scripted-engine SCRIPT swrk FD
 * Each line of the script is a step; received packets are appended, in hex, to SCRIPT.log.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char packet[1 << 20];

static void fail(const char *what) {
  fprintf(stderr, "scripted-engine: %s: %s\n", what, strerror(errno));
  exit(99);
}

static size_t from_hex(const char *hex, char *bytes) {
  size_t length = 0;
  unsigned value;
  while (sscanf(hex + 2 * length, "%2x", &value) == 1) bytes[length++] = (char)value;
  return length;
}

static void receive(int socket_fd, FILE *log) {
  ssize_t length = recv(socket_fd, packet, sizeof packet, 0);
  if (length < 0) fail("recv");
  if (length == 0) fputs("eof", log);
  for (ssize_t i = 0; i < length; i++) fprintf(log, "%02x", (unsigned char)packet[i]);
  fputc('\n', log);
  fflush(log);
}

static void send_with_fd(int socket_fd, const char *hex) {
  int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail("open");
  struct iovec data = {packet, from_hex(hex, packet)};
  union {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof fd)];
  } control;
  memset(&control, 0, sizeof control);
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  if (sendmsg(socket_fd, &message, 0) < 0) fail("sendmsg");
}

int main(int argc, char **argv) {
  if (argc != 4 || strcmp(argv[2], "swrk") != 0) {
    fputs("usage: scripted-engine SCRIPT swrk FD\n", stderr);
    return 98;
  }
  int socket_fd = atoi(argv[3]);
  char log_path[4096];
  snprintf(log_path, sizeof log_path, "%s.log", argv[1]);
  FILE *script = fopen(argv[1], "re");
  FILE *log = fopen(log_path, "ae");
  if (script == NULL || log == NULL) fail("fopen");

  static char line[1 << 16];
  while (fgets(line, sizeof line, script) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    char *argument = strchr(line, ' ');
    argument = argument == NULL ? "" : argument + 1;
    if (strncmp(line, "receive", 7) == 0) {
      receive(socket_fd, log);
    } else if (strncmp(line, "mark", 4) == 0) {
      fputs("eof\n", log);
      fflush(log);
    } else if (strncmp(line, "send-fd ", 8) == 0) {
      send_with_fd(socket_fd, argument);
    } else if (strncmp(line, "send ", 5) == 0) {
      if (send(socket_fd, packet, from_hex(argument, packet), MSG_NOSIGNAL) < 0) fail("send");
    } else if (strncmp(line, "stderr ", 7) == 0) {
      fprintf(stderr, "%s\n", argument);
    } else if (strncmp(line, "close", 5) == 0) {
      close(socket_fd);
    } else if (strncmp(line, "sleep ", 6) == 0) {
      usleep((useconds_t)atoi(argument) * 1000);
    } else if (strncmp(line, "until ", 6) == 0) {
      // A file of this name beside the script, which a test makes.
      char path[4096];
      snprintf(path, sizeof path, "%s.%s", argv[1], argument);
      while (access(path, F_OK) != 0) usleep(2000);
    } else if (strncmp(line, "kill ", 5) == 0) {
      kill(getpid(), atoi(argument));
    } else if (strncmp(line, "exit ", 5) == 0) {
      return atoi(argument);
    }
  }
  return 0;
}
