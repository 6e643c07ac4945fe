/** Finds what users without root have restored, and their page servers, by the names of their cgroups. */
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';

const ofTree = /^criu-(restore|page-server)-[0-9a-z-]*[0-9a-f]{12}-\d+(\.scope)?$/;

/** Users name the cgroups of their own units. */
const harmless = /^[\w@.:-]+$/;

/** @returns scopes by their names, and other cgroups with the name of the one above: `job1.service/criu-restore-UID-ID`. Sorted. */
export async function restoredTrees(root = '/sys/fs/cgroup'): Promise<string[]> {
  const found: string[] = [];
  const look = async (directory: string): Promise<void> => {
    // A cgroup may go while the others are looked at.
    const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      if (!entry.isDirectory()) continue;
      const { name } = entry;
      if (!ofTree.test(name)) await look(join(directory, name));
      else found.push(name.endsWith('.scope') ? name : `${printable(basename(directory))}/${name}`);
    }
  };
  await look(root);
  return found.sort();
}

function printable(name: string): string {
  return harmless.test(name) ? name : '(a cgroup with another name)';
}
