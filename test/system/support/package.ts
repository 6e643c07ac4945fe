/** The packages that lie in the payload, and what is theirs on the machine. */
import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { payload, run } from './bench.ts';
import { ourAddress } from './client.ts';
import { show } from './unit.ts';

/** A package manager reads and writes its whole database, and starts programs in Perl: under emulation that is a minute and more. */
export const packagePatienceMs = 400_000;

/** Of the Debian package, which run.sh has installed, or of the other. */
export function packageFile(extension: 'deb' | 'rpm'): string {
  const file = readdirSync(payload).find((entry) => entry.endsWith(`.${extension}`));
  assert.ok(file, `there is no ${extension} in ${payload}`);
  return join(payload, file);
}

/** What would be another socket, or the same one started anew. */
export function theSocket(): unknown {
  const { ino } = statSync(ourAddress);
  return { ino, ...show('criu.socket', 'ActiveState', 'InvocationID') };
}

/** Files of ours, wherever packages put some, and units that systemd still knows. */
export function remains(): string {
  const named = ['-name', '*criu-service*', '-o', '-name', 'criu.service*', '-o', '-name', 'criu.socket*'];
  const files = run('find', '/etc', '/run', '/usr', '/var', '-xdev', '(', ...named, ')', '-print');
  return files + run('systemctl', 'list-units', '--all', '--no-legend', '--plain', 'criu.s*');
}

/** Debian's rpm knows nothing of what dpkg has installed. */
export function rpm(...argv: string[]): void {
  run('rpm', '--nodeps', ...argv);
}
