/* Mounts a FUSE file system at argv[1] that never answers, says `ready`, and unmounts it at the end
 * of stdin. All users may use it, or, with a uid as argv[2], only that user. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

int main(int argc, char **argv) {
  char options[128], byte;
  int fd = open("/dev/fuse", O_RDWR);
  if (argc < 2 || fd < 0) return 1;
  snprintf(options, sizeof options, "fd=%d,rootmode=40000,group_id=0,user_id=%s", fd, argc > 2 ? argv[2] : "0,allow_other");
  if (mount("silent", argv[1], "fuse", MS_NOSUID | MS_NODEV, options) != 0) return 1;
  if (write(1, "ready\n", 6) != 6) return 1;
  while (read(0, &byte, 1) > 0) continue;
  umount2(argv[1], MNT_DETACH);
  return 0;
}
