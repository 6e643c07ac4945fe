/** CRIU's refusal of a file that has another size than at the dump, in words. Pure. */

/** validate_file in criu/files-reg.c; the path has lost its first slash. */
const badSize = /File (.+) has bad size (\d+) \(expect (\d+)\)/;

export interface BadSize {
  /** The rest of a sentence that begins with the request. */
  readonly sentence: string;
  readonly advice: string;
}

/** @param lines of CRIU's. */
export function badSizeIn(lines: readonly string[]): BadSize | undefined {
  const [, name, now, then] = lines.flatMap((line) => badSize.exec(line) ?? []);
  if (name === undefined) return undefined;
  const path = `/${name}`;
  return {
    sentence: `${path} has ${now} bytes, and had ${then} when it was dumped`,
    advice:
      Number(now) > Number(then)
        ? `Restore with --restore-files: what came after is kept beside it, in ${path}.after-${then}`
        : 'The bytes that it lacks are not in the images: bring the file back from a copy of your own',
  };
}
