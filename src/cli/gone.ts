/** Reads of what may be gone, or be another user's: then there is nothing. */
import { readdirSync, readFileSync } from 'node:fs';

export function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

export function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
