/**
 * The look before a dump: a tree that would not come back is not ended. It is advice, for the caller's own good: what the look
 * cannot read does not hold up the dump, and the service judges each request as before.
 */
import type { AnyOptions, DumpOptions } from '../client/options.ts';
import type { Finding } from '../look/conclusion.ts';
import type { Look } from '../look/look.ts';
import type { Thing } from '../look/things.ts';
import { exitCodes } from './exit-codes.ts';
import { type Invocation, Obstacle } from './invocation.ts';
import { sentenceAbout } from './look-words.ts';
import { optionTable } from './options/table.ts';
import { userName } from './people.ts';
import { quoted } from './words.ts';

/** @throws Obstacle if the dump would end the tree and the tree would not come back, or if the dump lacks options. */
export async function lookFirst({ options, own }: Invocation): Promise<void> {
  const request: DumpOptions = options as DumpOptions;
  const { pid, leaveRunning, leaveStopped } = request;
  if (own.force || leaveRunning || leaveStopped || pid === undefined || request.external?.length) return;
  const found = await tryToLook(pid);
  if (!found) return;
  const { seen, nounOf } = found;
  const { findings } = seen;
  const fatal = findings.filter(({ verdict }) => verdict.verdict === 'does-not-come-back');
  const missing = missingOptions(seen, request);
  if (fatal.length > 0) throw new Obstacle(exitCodes.refused, ...refusal(pid, fatal, nounOf));
  if (missing.length > 0) throw new Obstacle(exitCodes.refused, ...lacking(pid, findings, missing, nounOf));
}

/** Options that a tree needs, as fields of requests. */
export interface NeededOptions {
  readonly dump: Partial<AnyOptions>;
  readonly restore: Partial<AnyOptions>;
  /** As a person would write them. */
  readonly names: readonly string[];
}

/**
 * The same for a job, whose checkpoints are worth nothing if they would not come back, also where it runs on. Options that it needs
 * are given without asking.
 * @param pty its terminal is held by a process of criuctl's.
 * @throws Obstacle if the tree would not come back.
 */
export async function lookAtJob(pid: number, pty: boolean): Promise<NeededOptions> {
  const found = await tryToLook(pid);
  if (!found) return { dump: {}, restore: {}, names: [] };
  const { seen, nounOf } = found;
  const fatal = seen.findings.filter((finding) => keepsJob(finding, pty));
  if (fatal.length > 0) {
    const [first, ...others] = refusal(pid, fatal, nounOf);
    throw new Obstacle(
      exitCodes.refused,
      first,
      ...others.slice(0, -1),
      `It runs on as before. See criuctl look ${pid}`,
    );
  }
  const fields = (words: readonly string[]): Partial<AnyOptions> =>
    Object.assign({}, ...words.map((word) => fieldsOf(word)));
  return {
    dump: fields(seen.needs.map(({ dump }) => dump)),
    restore: fields(seen.needs.flatMap(({ restore }) => restore ?? [])),
    names: seen.needs.map(({ dump }) => dump),
  };
}

/** True if a job with this finding gets no checkpoint: it would not come back without a person. */
export function keepsJob({ thing, verdict }: Pick<Finding, 'thing' | 'verdict'>, pty: boolean): boolean {
  switch (verdict.verdict) {
    case 'does-not-come-back':
      return true;
    case 'cannot-be-told':
      // Its own connections come back closed.
      return thing.kind === 'internet' && thing.isInside === true;
    case 'with-option':
      return !pty && verdict.needs.dump === '--shell-job';
    default:
      return false;
  }
}

async function tryToLook(pid: number): Promise<{ seen: Look; nounOf: (thing: Thing) => string } | undefined> {
  try {
    const { look, nounOf } = await import('../look/look.ts');
    const seen = await look(pid, userName, 'without-credentials');
    return seen && { seen, nounOf };
  } catch {
    // The process has ended, or may not be read: the service says so.
    return undefined;
  }
}

const mostNamed = 5;

function refusal(
  pid: number,
  fatal: readonly Finding[],
  nounOf: (thing: Thing) => string,
): [string, ...string[]] {
  const [first, ...others] = fatal.map((finding) => sentenceAbout(finding, nounOf));
  const remedies = fatal.flatMap(({ verdict }) =>
    verdict.verdict === 'does-not-come-back' ? [capitalized(verdict.remedy)] : [],
  );
  return [
    `DUMP refused: process ${pid} would not come back: ${first}`,
    ...others.slice(0, mostNamed).map(capitalized),
    ...new Set(remedies),
    `It runs on as before. See criuctl look ${pid}; --force dumps it all the same, and --leave-running lets it run on`,
  ];
}

function lacking(
  pid: number,
  findings: readonly Finding[],
  missing: readonly string[],
  nounOf: (thing: Thing) => string,
): [string, ...string[]] {
  const because = findings.filter(
    ({ verdict }) => verdict.verdict === 'with-option' && missing.includes(verdict.needs.dump),
  );
  const sentences = [...new Set(because.map((finding) => sentenceAbout(finding, nounOf)))];
  const restore = because.flatMap(({ verdict }) =>
    verdict.verdict === 'with-option' ? (verdict.needs.restore ?? []) : [],
  );
  return [
    `DUMP refused: process ${pid} comes back with ${missing.join(' ')}: ${sentences[0]}`,
    ...sentences.slice(1, mostNamed).map(capitalized),
    `Try it with ${missing.join(' ')}:`,
    `  ${commandLine(missing)}`,
    ...(restore.length > 0 ? [`and restore it with ${[...new Set(restore)].join(' ')}`] : []),
  ];
}

function capitalized(sentence: string): string {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}

/** The command line as it was given, and these options. */
function commandLine(options: readonly string[]): string {
  return ['criuctl', ...process.argv.slice(2).map(quoted), ...options].join(' ');
}

/** Options that do instead of another. */
const alternatives: Readonly<Record<string, readonly string[]>> = {
  '--tcp-established': ['--tcp-close'],
  '--tcp-close': ['--tcp-established'],
};

export function missingOptions({ needs }: Pick<Look, 'needs'>, request: DumpOptions): string[] {
  return needs
    .map(({ dump }) => dump)
    .filter((needed) => {
      const [name = ''] = needed.split(' ');
      return ![needed, ...(alternatives[name] ?? [])].some((each) => isGiven(each, request));
    });
}

function isGiven(needed: string, request: DumpOptions): boolean {
  const fields = Object.entries(fieldsOf(needed)) as [keyof DumpOptions, unknown][];
  return fields.every(([field, wanted]) => {
    const given = request[field];
    return typeof wanted === 'number' ? Number(given ?? 0) >= wanted : Boolean(given);
  });
}

/** @param option with its value, as on the command line. */
function fieldsOf(option: string): Partial<AnyOptions> {
  const [name = '', value = ''] = option.split(' ');
  return optionTable.find(({ long }) => `--${long}` === name)?.request?.(value) ?? {};
}
