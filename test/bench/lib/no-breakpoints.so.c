// Preloaded: tells every criu, in any environment, to do without hardware breakpoints
// (FI_NO_BREAKPOINTS in CRIU's fault-injection.h).
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

__attribute__((constructor)) static void choose(void) {
  if (!strcmp(program_invocation_short_name, "criu")) setenv("CRIU_FAULT", "130", 0);
}
