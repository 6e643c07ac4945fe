/** The name of a job: a directory's name, and the instance of a systemd unit. Pure. */

const most = 64;

/** @returns the rest of a sentence that begins with the name; undefined for a name that can be used. */
export function faultOfName(name: string): string | undefined {
  if (name.length > most) return `is longer than ${most} characters`;
  return /^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name)
    ? undefined
    : 'is no name of a job: it has letters, digits, and . _ - after the first of them';
}
