/**
 * The sentences that the journal has already, since this machine was booted: a service that exits when it is idle starts many times a
 * day, and an operator needs each sentence once. The directory is root's, and is emptied at boot.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const name = 'told-limits';

/**
 * @param directory undefined without systemd: then each start tells all.
 * @returns true if the journal lacks these sentences; from then on it has them.
 */
export function isNews(directory: string | undefined, sentences: readonly string[]): boolean {
  if (directory === undefined) return true;
  const path = join(directory, name);
  const text = sentences.join('\n');
  try {
    if (readFileSync(path, 'utf8') === text) return false;
  } catch {
    // No start has told anything yet.
  }
  try {
    writeFileSync(path, text, { mode: 0o600 });
  } catch {
    // Without the file, the next start tells again.
  }
  return true;
}
