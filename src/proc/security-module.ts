/** Tells which security module of the kernel labels processes (Documentation/admin-guide/LSM of the kernel). */
import { readFileSync } from 'node:fs';

/** The modules that let a process request a label for its next execve(2). */
export type LabelModule = 'selinux' | 'apparmor';

/**
 * Pure.
 * @param active the content of /sys/kernel/security/lsm: the active modules, in their order, separated by commas. At most one
 * module that labels processes answers in /proc/PID/attr: the first.
 * @returns undefined where no module labels processes, or where the module is not known here.
 */
export function labelModuleOf(active: string): LabelModule | undefined {
  const first = active
    .trim()
    .split(',')
    .find((name) => ['selinux', 'apparmor', 'smack'].includes(name));
  return first === 'selinux' || first === 'apparmor' ? first : undefined;
}

/** Reads the module of this kernel. Without securityfs the answer is undefined, too: then no label can be taken over. */
export function readLabelModule(): LabelModule | undefined {
  try {
    return labelModuleOf(readFileSync('/sys/kernel/security/lsm', 'latin1'));
  } catch {
    return undefined;
  }
}
