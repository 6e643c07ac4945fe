import type { CriuVersion } from './results.ts';

/** For example `4.1.1`. */
export function versionText({ major, minor, sublevel }: CriuVersion): string {
  return [major, minor, ...(sublevel ? [sublevel] : [])].join('.');
}
