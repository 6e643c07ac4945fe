/** Which security module of the kernel labels processes (Documentation/admin-guide/LSM of the kernel). */
import { readFileSync } from 'node:fs';

/** Those whose labels a process may ask for at its next execve(2). */
export type LabelModule = 'selinux' | 'apparmor';

/**
 * Pure.
 * @param active what /sys/kernel/security/lsm says: the active modules, in their order, with commas. Of those that label processes at most
 * one answers in /proc/PID/attr: the first.
 * @returns undefined where no module labels processes, or one that is not known here.
 */
export function labelModuleOf(active: string): LabelModule | undefined {
  const first = active
    .trim()
    .split(',')
    .find((name) => ['selinux', 'apparmor', 'smack'].includes(name));
  return first === 'selinux' || first === 'apparmor' ? first : undefined;
}

/** Of this kernel. Undefined, too, where securityfs is not mounted: no label can be taken over then. */
export function readLabelModule(): LabelModule | undefined {
  try {
    return labelModuleOf(readFileSync('/sys/kernel/security/lsm', 'latin1'));
  } catch {
    return undefined;
  }
}
