/**
 * The tests that `npm test` runs in the VM, by full titles. A title without a test is a failure.
 */

/** A test for each area, on a known and complete kernel. */
export const smoke: readonly string[] = [
  // The clients.
  'pycriu over the socket of the service dumps a process, which is then gone, and restores it, and it counts on',
  'a program on libcriu that dumps itself is gone after the dump, and reads "restored" after its restore',
  'the client library over the socket of the service makes CRIU roll back if a handler throws, and the process counts on',
  'criuctl dumps and restores as the specification’s example says it, and prints only the pid',
  'criuctl as root in directories of other users refuses a file system of alice’s that answers nothing, without waiting for it',
  'a dialog with keep_open is answered request by request, and ends after the request without keep_open',
  // The service.
  'the record of a request names the unit of a process that a user without root restored',
  'a reload is reported to systemd, which waits for its end, and the service runs on',
  'a caller of another user namespace is refused as soon as it is accepted, whatever it asks',
  // The walls.
  'a restore of alice’s from images that she has edited works with her credentials if she has edited nothing',
  'a directory of alice’s on a file system that never answers blocks alice alone (by descriptor)',
  'a service without any of these walls has an engine taken over by the tree that it restores',
  // The machine itself starts again.
  'over a reboot a process is dumped, and alice’s programs, which wait for moments of their clocks',
  'over a reboot jobs of alice’s and root’s run, and nobody stops them',
  'over a reboot the socket stays enabled and listens',
  'over a reboot jobs were suspended by the shutdown, and go on by themselves',
  'over a reboot a process that was dumped before the reboot counts on from its last number',
  'over a reboot alice’s programs that wait for moments of their clocks go on at once',
  'over a reboot alice dumps one of them and has it restored again and again, also by root',
];

/**
 * Tests that containers cannot show on most hosts: the VM runs them without waiting for the container's result. Other tests that
 * the container could not show run later, in a further start of the VM.
 */
export const seldomInContainer: readonly string[] = [
  // This kernel has no soft-dirty tracking.
  'a job of alice’s, where the kernel tracks memory, has checkpoints of what has changed, which stay as long as they are needed, and goes on with all of its memory',
  'a job of root’s, where the kernel tracks memory, has a whole checkpoint after somebody else has cleared what was tracked, even of a single process',
  'alice with a kernel that tracks memory pre-dumps in a loop that a dump ends: each round has only what has changed, and the last comes back',
  'alice with a kernel that tracks memory pre-dumps on a connection of its own, dumps by that, restores, and begins anew with what was restored',
  'alice with a kernel that tracks memory has a large program dumped live by criuctl: little is written while it is frozen, and it comes back',
  'a pre-dump of alice’s of a process of root’s is refused, alone and as a later round of a loop',
  'a pre-dump of alice’s with a parent that leads into a directory of root’s reads and writes nothing there',
  'a pre-dump of alice’s whose engine is killed while the tree is frozen leaves the tree to the kernel, and no engine',
  'pycriu over the socket of the service pre-dumps once and closes the connection',
  'pycriu over the socket of the service pre-dumps with SINGLE_PRE_DUMP',
  'pycriu over the socket of the service pre-dumps in a loop that a dump ends, and restores the last of the images',
  'a program on libcriu that dumps itself dumps itself at the end of a PRE_DUMP loop',
  'a program that starts criu swrk, with the drop-in in its PATH pre-dumps in a loop that a dump ends, and restores the last of the images',
  'the client library over the socket of the service pre-dumps in rounds that a dump ends, and restores the last of the images',
  'the client library with an engine of its own pre-dumps in rounds that a dump ends, and restores the last of the images',
  'a request gets the same reply from criu service and from ours DUMP with track_mem',
  'a request gets the same reply from criu service and from ours PRE_DUMP once',
  'a request gets the same reply from criu service and from ours SINGLE_PRE_DUMP of a process',
  'a request gets the same reply from criu service and from ours DUMP with a parent that does not exist',
  'a service that is killed in the middle of a request goes on between two rounds of a pre-dump loop',
  'a service that is restarted in the middle of a request goes on between two rounds of a pre-dump loop',
  // This kernel has no Yama.
  'a refusal with advice names Yama if it forbids users to trace, and only then',
  'under ptrace_scope 1 a dump of alice’s is served for a child in nanosleep, which then does what it does after a dump under scope 0',
  'under ptrace_scope 1 a dump of alice’s is served for a child in futex, which then does what it does after a dump under scope 0',
  'under ptrace_scope 1 a dump of alice’s is served for a child in poll, which then does what it does after a dump under scope 0',
  'under ptrace_scope 1 a dump of alice’s is served for a child in read, which then does what it does after a dump under scope 0',
  'under ptrace_scope 1 a dump of alice’s is served for a child in stopped, which then does what it does after a dump under scope 0',
  'under ptrace_scope 1 a dump of alice’s is served for a tree of 200 processes',
  'under ptrace_scope 1 a dump of alice’s ends a child, and takes its processes along',
  'under ptrace_scope 1 a dump of alice’s is served for the process that asks',
  'under ptrace_scope 1 a dump of alice’s is served for a process that has named anybody, and again after its restore',
  'under ptrace_scope 1 a dump of alice’s is refused for a process that is no relative, and has named nobody: it runs on',
  'under ptrace_scope 1 a dump of alice’s is refused if the connection of another program is used: that program’s child runs on',
  'under ptrace_scope 1 a dump of alice’s is refused for a child of a program that starts the drop-in criu, which is the caller, unless the child has named anybody',
  'under ptrace_scope 1 a dump of alice’s is refused for a process of hers in a tree that another user has restored',
  'under ptrace_scope 1 a dump of alice’s is refused for a child that is not dumpable, or has a filter, with a sentence',
  'under ptrace_scope 1 a dump of alice’s is served for every process of hers with --yama=own, and marked',
  'under ptrace_scope 1 a dump of alice’s is refused for every process of hers with --yama=none, also for a child',
  'under ptrace_scope 1 a dump of alice’s is refused under scope 2, also for a child',
  // AppArmor is not active on this kernel.
  'a caller under an AppArmor profile gets an engine and a restored process under the same profile',
  'a caller under an AppArmor profile gets back a process under its profile, even if the images are of an unconfined process',
  'a caller under an AppArmor profile cannot dump to a directory that the profile denies, and the target runs on',
  // Root lacks CAP_SYS_RESOURCE here, which sets the limits of users (/proc/sys/user).
  'the time namespaces of alice’s restored processes count against her share, of which she is told, and root and bob restore theirs',
  // Root lacks CAP_SYS_RESOURCE here, and cannot dump processes of others.
  'the cases that CRIU’s own service once checked a user cannot dump a process of another user’s (CRIU’s own service does not do so)',
  'a target of alice’s dump cannot be a process of bob’s (CRIU’s own service does not do so)',
  'a target of alice’s dump cannot be a setuid program that she started (CRIU’s own service does not do so)',
  'a target of alice’s dump cannot be a program with file capabilities that she started (CRIU’s own service does not do so)',
  'a target of alice’s dump cannot be a setgid program that she started (CRIU’s own service does not do so)',
  'a target of alice’s dump cannot be a tree of hers with a process of bob’s in it (CRIU’s own service does not do so)',
  'a target of alice’s dump cannot be a process of hers that is not dumpable (CRIU’s own service does not do so)',
  'links and descriptors that alice plants a symbolic link planted after the request was authorized is not followed (CRIU’s own service does not do so)',
  'a restore of alice’s from images that she has edited does not become a process with all capabilities, and does with root’s CRIU',
  'a restore of alice’s from images that she has edited does not become a process with a raised limit of open files, and does with root’s CRIU',
  // Kernel threads are not seen in here.
  'a target of alice’s dump cannot be a kernel thread',
  // Root lacks CAP_SYS_RESOURCE here, and only root can dump a filter.
  'an image with a seccomp filter that answers capset with 0 is never restored, because its engine may not install a filter',
  'an image with a seccomp filter that answers capset with 0 never becomes a process that kept the capability, with --allow-no-new-privs',
];
