/** Words for namespaces, with what usually makes one, in the words of systemd.exec(5). */

const words: ReadonlyMap<string, readonly [noun: string, makers: string]> = new Map([
  ['user', ['a user', 'PrivateUsers=, a rootless container, unshare --user']],
  ['mnt', ['a mount', 'PrivateTmp=, ProtectSystem= and the like, pam_namespace, a container']],
  ['net', ['a network', 'PrivateNetwork=, a container']],
  ['ipc', ['an ipc', 'PrivateIPC=, a container']],
  ['uts', ['a uts', 'ProtectHostname=, a container']],
  ['cgroup', ['a cgroup', 'ProtectControlGroups=private, a container']],
  ['pid', ['a pid', 'PrivatePIDs=, a container']],
]);

/** @returns for example `lives in a mount namespace of its own (PrivateTmp=, a container)`. @param name as in /proc/PID/ns. */
export function inNamespaceOfItsOwn(name: string): string {
  if (name.endsWith('_for_children')) {
    return `has its children in a ${name.replace('_for_children', '')} namespace of their own`;
  }
  const [noun, makers] = words.get(name) ?? [`a ${name}`, 'a container'];
  return `lives in ${noun} namespace of its own (${makers})`;
}
