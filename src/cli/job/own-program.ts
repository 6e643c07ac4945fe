/** A program of this package that criuctl starts for jobs. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Beside this program, or where a checkout builds it. */
export function ownProgram(name: 'criu-job-claim' | 'criu-job-root'): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const places = [join(here, name), join(here, '..', '..', '..', 'build', 'dist', name)];
  return places.find((place) => existsSync(place)) ?? places[0]!;
}
