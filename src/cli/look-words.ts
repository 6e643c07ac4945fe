/** A look in words: the table for people, the object for programs, sentences for a refusal. Pure. */
import type { Finding } from '../look/conclusion.ts';
import type { Look } from '../look/look.ts';
import type { ProcessFacts, Thing } from '../look/things.ts';
import type { Verdict } from '../look/verdicts.ts';
import { sanitize } from '../systemd/log.ts';
import { columns, counted, inBytes } from './words.ts';

type Noun = (thing: Thing) => string;
interface Commands {
  readonly dump: string;
  readonly restore: string;
}

const standardStreams = 3;
const mostProcesses = 20;

export function tableOf(look: Look, commands: Commands, nounOf: Noun): string {
  const { processes } = look.facts;
  return [
    ...processes.slice(0, mostProcesses).map(aboutProcess),
    ...(processes.length > mostProcesses ? [`and ${processes.length - mostProcesses} more`] : []),
    '',
    ...columns([['PID', 'FD', 'THING', 'VERDICT'], ...rowsOf(look.findings, nounOf)]),
    '',
    `Process ${look.facts.pid} ${summary(look)}`,
    ...(look.verdict === 'with-option' ? [commands.dump, commands.restore] : []),
  ].join('\n');
}

function aboutProcess({ pid, name, user, threads, memory, descriptors, stopped }: ProcessFacts): string {
  const facts = [counted(threads, 'thread'), inBytes(memory), counted(descriptors, 'descriptor')];
  return `${pid} ${name} of ${user}: ${[...facts, ...(stopped ? ['stopped'] : [])].join(', ')}`;
}

/** A row for each notable thing. Processes share the row of a thing that all of them have, as children inherit it. */
function rowsOf(findings: readonly Finding[], nounOf: Noun): string[][] {
  const rows = new Map<string, string[]>();
  for (const { pid, fds, thing, verdict } of findings.filter(isNotable)) {
    const cells = [fds.join(', '), sanitize(nounOf(thing)), inWords(verdict)];
    const known = rows.get(cells.join('\n'));
    if (known) known[0] += `, ${pid}`;
    else rows.set(cells.join('\n'), [String(pid), ...cells]);
  }
  return [...rows.values()];
}

/** The object of --json; man criuctl describes it. */
export function asJson({ facts, verdict, findings, needs }: Look, commands: Commands, nounOf: Noun): object {
  const { pid, criu, linux, processes } = facts;
  return {
    verb: 'look',
    pid,
    verdict,
    options: needs.map(({ dump }) => dump),
    restoreOptions: needs.flatMap(({ restore }) => restore ?? []),
    command: commands.dump,
    criu: criu && [criu.major, criu.minor, criu.sublevel].join('.'),
    linux,
    processes,
    findings: findings.map(({ pid, fds, thing, verdict: judged }) => ({
      pid,
      fds,
      thing: nounOf(thing),
      ...factsIn(thing),
      ...flat(judged),
    })),
  };
}

/** A sentence about a finding, for a refusal. */
export function sentenceAbout({ pid, fds, thing, verdict }: Finding, nounOf: Noun): string {
  const subject =
    fds.length > 0
      ? `descriptor ${fds.join(', ')} of process ${pid} (${sanitize(nounOf(thing))})`
      : `${sanitize(nounOf(thing))} of process ${pid}`.replace(/^the process of /, '');
  return `${subject}: ${reasonOf(verdict)}`;
}

export function inWords(verdict: Verdict): string {
  const reason = reasonOf(verdict);
  switch (verdict.verdict) {
    case 'comes-back':
      return reason === '' ? 'comes back' : `comes back: ${reason}`;
    case 'with-option':
      return `comes back with ${verdict.needs.dump}: ${reason}`;
    case 'does-not-come-back':
      return `does not come back: ${reason}; ${verdict.remedy}`;
    case 'cannot-be-told':
      return `cannot be told: ${reason}`;
  }
}

export function reasonOf(verdict: Verdict): string {
  return verdict.verdict === 'does-not-come-back' ? verdict.why : (verdict.note ?? '');
}

function summary({ verdict, needs, findings }: Look): string {
  switch (verdict) {
    case 'comes-back':
      return 'comes back';
    case 'with-option':
      return `comes back with ${needs.map(({ dump }) => dump).join(' ')}`;
    case 'does-not-come-back':
      return `does not come back: ${counted(findings.filter((each) => each.verdict.verdict === verdict).length, 'thing')} in the way`;
    case 'cannot-be-told':
      return 'may come back: CRIU decides about what cannot be told, and leaves the process as it is if it cannot';
  }
}

/** The standard streams, and all that needs an option or a remark. */
function isNotable({ fds, verdict }: Finding): boolean {
  return (
    fds.some((fd) => fd < standardStreams) || verdict.verdict !== 'comes-back' || verdict.note !== undefined
  );
}

function flat(verdict: Verdict): object {
  switch (verdict.verdict) {
    case 'with-option':
      return { verdict: verdict.verdict, option: verdict.needs.dump, note: verdict.note };
    case 'does-not-come-back':
      return { verdict: verdict.verdict, why: verdict.why, remedy: verdict.remedy };
    default:
      return { verdict: verdict.verdict, ...(verdict.note === undefined ? {} : { note: verdict.note }) };
  }
}

/** The facts of a thing without those that the sentences hold. */
function factsIn(thing: Thing): object {
  if (thing.kind === 'credential') return { kind: thing.kind };
  return thing;
}
