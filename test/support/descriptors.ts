/** The descriptors of this process, with what they are open for: a number alone goes down when garbage is collected. */
import { readdirSync, readlinkSync } from 'node:fs';

export function descriptors(): ReadonlySet<string> {
  return new Set(
    readdirSync('/proc/self/fd').flatMap((fd) => {
      try {
        return [`${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`];
      } catch {
        // It was the directory of this listing.
        return [];
      }
    }),
  );
}

/** @returns those that were not open before. */
export function openedSince(before: ReadonlySet<string>): string[] {
  return [...descriptors()].filter((each) => !before.has(each));
}
