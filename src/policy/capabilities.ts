/** Capabilities by number, see capabilities(7) and the kernel's uapi/linux/capability.h. */

const names = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_ADMIN',
  'NET_RAW',
  'IPC_LOCK',
  'IPC_OWNER',
  'SYS_MODULE',
  'SYS_RAWIO',
  'SYS_CHROOT',
  'SYS_PTRACE',
  'SYS_PACCT',
  'SYS_ADMIN',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'MKNOD',
  'LEASE',
  'AUDIT_WRITE',
  'AUDIT_CONTROL',
  'SETFCAP',
  'MAC_OVERRIDE',
  'MAC_ADMIN',
  'SYSLOG',
  'WAKE_ALARM',
  'BLOCK_SUSPEND',
  'AUDIT_READ',
  'PERFMON',
  'BPF',
  'CHECKPOINT_RESTORE',
] as const;

export type Capability = (typeof names)[number];

/** The bit of a capability in a set. */
export function bitOf(name: Capability): bigint {
  return 1n << BigInt(numberOf(name));
}

export function numberOf(name: Capability): number {
  return names.indexOf(name);
}

/** @returns for example `CAP_CHOWN, CAP_BPF`; a capability without a name here is given by its number. */
export function namesOf(set: bigint): string {
  const found: string[] = [];
  for (let number = 0; set >> BigInt(number) !== 0n; number += 1) {
    if ((set >> BigInt(number)) & 1n) found.push(`CAP_${names[number] ?? number}`);
  }
  return found.join(', ');
}
