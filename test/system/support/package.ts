/** The packages that lie in the payload, and their files on the machine. */
import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { payload, run } from './bench.ts';
import { ourAddress } from './client.ts';
import { show } from './unit.ts';

/** A package manager reads and writes its whole database, and starts programs in Perl: under emulation that takes a minute and more. */
export const packagePatienceMs = 400_000;

/** The file of the Debian package, which run.sh has installed, or of the rpm. */
export function packageFile(extension: 'deb' | 'rpm'): string {
  const file = readdirSync(payload).find((entry) => entry.endsWith(`.${extension}`));
  assert.ok(file, `there is no ${extension} in ${payload}`);
  return join(payload, file);
}

/** Properties that change if the socket is replaced or started again. */
export function theSocket(): unknown {
  const { ino } = statSync(ourAddress);
  return { ino, ...show('criu.socket', 'ActiveState', 'InvocationID') };
}

/** Files of ours in all directories of packages, and units that systemd still knows. */
export function remains(): string {
  const named = ['-name', '*criu-service*', '-o', '-name', 'criu.service*', '-o', '-name', 'criu.socket*'];
  const files = run('find', '/etc', '/run', '/usr', '/var', '-xdev', '(', ...named, ')', '-print');
  return files + run('systemctl', 'list-units', '--all', '--no-legend', '--plain', 'criu.s*');
}

/** Debian's rpm does not know the packages that dpkg has installed. */
export function rpm(...argv: string[]): void {
  run('rpm', '--nodeps', ...argv);
}
