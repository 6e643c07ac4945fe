/**
 * What `npm test` runs in the VM, by full titles. A title that no test has is a failure.
 */

/** One test for each area, on a kernel that is known and whose every part is there. */
export const smoke: readonly string[] = [
  // The clients.
  'pycriu over the socket of the service dumps a process, which is gone then, and restores it, which counts on',
  'a program on libcriu that dumps itself is gone after the dump, and reads "restored" after its restore',
  'the client library over the socket of the service makes CRIU roll back when a handler throws, and the process counts on',
  'criuctl dumps and restores as the specification’s example says it, and prints nothing but the pid',
  'criuctl as root in directories of others does not wait for a file system of alice’s that answers nothing',
  'a dialog with keep_open is answered request by request, and ends with the one that does not ask for more',
  // The service.
  'the record of a request names the unit of what a user without root restored',
  'a reload is told to systemd, which waits for its end, and stops nothing',
  'a caller of another user namespace is refused when it is accepted, whatever it asks',
  // The walls.
  'a restore of alice’s from images that she has edited works when she has edited nothing, with her credentials',
  'a directory of alice’s on a file system that never answers holds up alice alone (by descriptor)',
  'a service without any of these walls has the engine taken over that restores the tree which writes into it',
  // The machine itself starts again.
  'over a reboot a process is dumped',
  'over a reboot the socket stays enabled and listens, and nothing runs yet',
  'over a reboot a process that was dumped before counts on where it was',
];

/**
 * What containers cannot show on most hosts, so that the VM need not wait for the container to say so. That decides: whatever it
 * could not show and is left out here comes later, in a start of the VM of its own.
 */
export const seldomInContainer: readonly string[] = [
  // This kernel has no soft-dirty tracking.
  'pycriu over the socket of the service pre-dumps once and closes the connection',
  'pycriu over the socket of the service pre-dumps with SINGLE_PRE_DUMP',
  'pycriu over the socket of the service pre-dumps in a loop that a dump ends, and restores the last of the images',
  'a program on libcriu that dumps itself dumps itself at the end of a PRE_DUMP loop',
  'the client library over the socket of the service pre-dumps in rounds that a dump ends, and restores the last of the images',
  'the client library with an engine of its own pre-dumps in rounds that a dump ends, and restores the last of the images',
  'the same request to criu service and to ours DUMP with track_mem',
  'the same request to criu service and to ours PRE_DUMP once',
  'the same request to criu service and to ours SINGLE_PRE_DUMP of a process',
  'the same request to criu service and to ours DUMP with a parent that is not there',
  'a service that is killed in the middle of a request goes on between two rounds of a pre-dump loop',
  'a service that is restarted in the middle of a request goes on between two rounds of a pre-dump loop',
  // This kernel has no Yama.
  'what cannot be done here is said of Yama where it keeps users from tracing, and not where it does not',
  // AppArmor is not active on this kernel.
  'a caller under an AppArmor profile has an engine under it, and gets back a process that is under it',
  'a caller under an AppArmor profile gets back nothing that has left it, where the images are of a process that was under none',
  'a caller under an AppArmor profile has no images written where the profile lets nobody write, and its process runs on',
  // Root lacks CAP_SYS_RESOURCE here, and cannot dump processes of others.
  'the cases of the service that CRIU had a user does not get a process of another user’s (CRIU’s own service does not do so)',
  'whose processes alice can have dumped a process of bob’s is not hers (CRIU’s own service does not do so)',
  'whose processes alice can have dumped a setuid program that she started is not hers (CRIU’s own service does not do so)',
  'whose processes alice can have dumped a program with file capabilities that she started is not hers (CRIU’s own service does not do so)',
  'whose processes alice can have dumped a setgid program that she started is not hers (CRIU’s own service does not do so)',
  'whose processes alice can have dumped a tree of hers with one process of bob’s in it is not hers (CRIU’s own service does not do so)',
  'whose processes alice can have dumped a process of hers that is not dumpable is not dumped (CRIU’s own service does not do so)',
  'what alice plants in her directories a symbolic link that is planted when the directory was opened and the request authorized is not followed (CRIU’s own service does not do so)',
  'a restore of alice’s from images that she has edited does not become a process with all capabilities, and does with root’s CRIU',
  'a restore of alice’s from images that she has edited does not become a process with a raised limit of open files, and does with root’s CRIU',
  // Kernel threads are not seen in here.
  'whose processes alice can have dumped a kernel thread is not hers',
  // Root lacks CAP_SYS_RESOURCE here, and only root can dump a filter.
  'an image with a seccomp filter that answers capset with 0 is no process at all, because its engine may not install a filter',
  'an image with a seccomp filter that answers capset with 0 is no process that kept the capability, where callers with no_new_privs are served',
];
