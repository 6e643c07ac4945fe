/** Names of users. */
import { readFileSync } from 'node:fs';

/** Looks only into /etc/passwd: the name is for a sentence, which is not worth waiting for a name service. */
export function userName(uid: number): string {
  try {
    const line = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .find((each) => each.split(':')[2] === String(uid));
    return line?.split(':')[0] ?? `uid ${uid}`;
  } catch {
    return `uid ${uid}`;
  }
}
