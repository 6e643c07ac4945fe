/** Supplementary groups of a process, compared with those of a caller. */

/** The groups that differ, each list cut short: a user with subordinate gids may have thousands. */
export interface GroupsDifference {
  /** Groups of the process that the caller lacks. */
  readonly more: readonly number[];
  /** Groups of the caller that the process lacks. */
  readonly fewer: readonly number[];
}

/** The number of groups that a sentence names. */
const mostNamed = 5;

/** A process with more groups than CRIU compares without root (512). */
const unknown: GroupsDifference = { more: [], fewer: [] };

/**
 * @returns a comparison of a `Groups:` line of an answer to the question `tasks` with `own`, which is ascending. The kernel sorts
 * the groups of a process, too. Threads of a process usually have the same groups, so the last result is remembered.
 */
export function comparedWith(own: readonly number[]): (line: string) => GroupsDifference | undefined {
  const ownLine = own.join(' ');
  let last: GroupsDifference | undefined;
  return (line) => {
    const trimmed = line.trimEnd();
    if (trimmed === '=') return last;
    if (trimmed === '+') return unknown;
    last = trimmed === ownLine ? undefined : differenceOf(own, trimmed);
    return last;
  };
}

function differenceOf(own: readonly number[], line: string): GroupsDifference {
  const theirs = line === '' ? [] : line.split(' ').map(Number);
  const [has, holds] = [new Set(theirs), new Set(own)];
  return {
    more: theirs.filter((gid) => !holds.has(gid)).slice(0, mostNamed),
    fewer: own.filter((gid) => !has.has(gid)).slice(0, mostNamed),
  };
}

/** The name of a group by the text of /etc/group, see group(5). Other sources of names are not asked: they could block. */
export function groupName(text: string, gid: number): string | undefined {
  for (const line of text.split('\n')) {
    const [name, , number] = line.split(':');
    if (name && number === String(gid)) return name;
  }
  return undefined;
}
