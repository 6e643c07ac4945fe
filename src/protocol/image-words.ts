/**
 * Sentences for a restore that failed for its images. CRIU takes an absent image for an empty one, and then fails elsewhere, with words about
 * another thing, or crashes. The service opens no file of a user's, so a sentence tells as much as CRIU's words do. Pure.
 */
const verify = '"criuctl images verify DIR" names it';

type Row = readonly [pattern: RegExp, tell: (groups: readonly string[]) => string];

/** Each row was provoked (test/system/damaged-images.test.ts). */
const rows: readonly Row[] = [
  [
    /Read (\d+) bytes while (\d+) expected (?:from|on) (?:.*\/)?([^/]+\.img)/,
    ([read, expected, name]) => `${name} is cut off: a record has ${read} bytes of ${expected}`,
  ],
  [/No IDS for root task/, () => `ids-PID.img of the first process is missing; ${verify}`],
  [/Can't open core data for (\d+)/, ([pid]) => `core-${pid}.img is damaged`],
  [
    /Can't read pages data \(-9\)/,
    () => `an image of pages (pages-N.img) is missing, or compressed; ${verify}`,
  ],
  [/cg: No set \d+ found/, () => 'cgroup.img is missing, or is of another dump'],
  [/\(empty-image\)/, () => `an image is missing; ${verify}`],
  [/image\.c:\d+\): Unexpected EOF/, () => `an image is empty; ${verify}`],
  [
    /\d+ killed by signal 11/,
    () =>
      `CRIU has crashed, as it does without files.img, or fs-PID.img or mm-PID.img of a process; ${verify}`,
  ],
  [
    // With a line about its child, if that is seen in time.
    /Restoring FAILED|\d+ exited, status=/,
    () => `CRIU gives no reason, as it does without pagemap-PID.img of a process; ${verify}`,
  ],
];

const withoutInventory =
  'inventory.img is missing: CRIU writes it last, so this dump did not finish, or its directory was copied in part';

/**
 * @param decisive of CRIU's error lines, the line that says why.
 * @param log other error lines; none if the log was not read.
 */
export function aboutImages(decisive: string, log: readonly string[]): string | undefined {
  // CRIU reads the inventory before the work that ends with "Restoring FAILED".
  const isEarly = log.length > 0 && !log.some((line) => /Restoring FAILED/.test(line));
  if (isEarly && /\(empty-image\)/.test(decisive)) return withoutInventory;
  for (const [pattern, tell] of rows) {
    const [found, ...groups] = pattern.exec(decisive) ?? [];
    if (found !== undefined) return tell(groups);
  }
  return undefined;
}

/** @param end a sentence about an engine that has ended in a restore, without a reply. */
export function afterCrash(end: string): string {
  return /^The engine was ended by signal 11\b/.test(end)
    ? `${end}. CRIU crashes so without pstree.img; ${verify}`
    : end;
}
