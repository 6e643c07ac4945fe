/** The verdict about a whole tree, from the verdicts about its things. Pure. */
import type { Facts, Found, Thing } from './things.ts';
import { type Circumstances, judge, type Needed, type Verdict } from './verdicts.ts';

export interface Finding extends Found {
  readonly verdict: Verdict;
}

export interface Conclusion {
  readonly verdict: Verdict['verdict'];
  /** Options that the tree needs, each once. */
  readonly needs: readonly Needed[];
  readonly findings: readonly Finding[];
}

/** The worst verdict counts. Doubt weighs less than a missing option: CRIU settles it without harm. */
const order: readonly Verdict['verdict'][] = [
  'does-not-come-back',
  'with-option',
  'cannot-be-told',
  'comes-back',
];

export function conclude(facts: Pick<Facts, 'found'> & Circumstances): Conclusion {
  const findings = facts.found
    .map((found): Finding => ({ ...found, verdict: judge(found.thing, facts) }))
    .sort((one, other) => rank(one) - rank(other));
  return {
    verdict: findings[0]?.verdict.verdict ?? 'comes-back',
    needs: merged(
      findings.flatMap(({ verdict }) => (verdict.verdict === 'with-option' ? [verdict.needs] : [])),
    ),
    findings,
  };
}

function rank({ verdict }: Finding): number {
  return order.indexOf(verdict.verdict);
}

/** Each option once; of an option with a number, the largest. */
function merged(all: readonly Needed[]): Needed[] {
  const byName = new Map<string, Needed>();
  for (const needed of all) {
    const [name = '', value] = needed.dump.split(' ');
    const known = byName.get(name);
    if (known === undefined || amount(value) > amount(known.dump.split(' ')[1])) byName.set(name, needed);
    else if (needed.restore !== undefined) byName.set(name, { ...known, restore: needed.restore });
  }
  return [...byName.values()];
}

function amount(value: string | undefined): number {
  return Number.parseInt(value ?? '0', 10);
}

/** The lines to copy. `-D` is the caller's choice. */
export function commandsFor(pid: number, needs: readonly Needed[]): { dump: string; restore: string } {
  const restore = needs.flatMap((needed) => needed.restore ?? []);
  return {
    dump: ['criuctl', 'dump', pid, ...needs.map(({ dump }) => dump), '-D', 'DIR'].join(' '),
    restore: ['criuctl', 'restore', ...restore, '-D', 'DIR'].join(' '),
  };
}

/** A noun for a thing, as the subject of a sentence. */
export function nounOf(thing: Thing): string {
  switch (thing.kind) {
    case 'file':
    case 'no-mount':
    case 'not-openable':
    case 'fifo':
    case 'terminal':
    case 'console':
    case 'device':
      return thing.path;
    case 'deleted':
      return `${thing.path} (deleted)`;
    case 'pipe':
      return 'a pipe';
    case 'unix':
      return `a Unix ${thing.type} socket`;
    case 'internet':
      return [
        `a ${thing.protocol} socket`,
        thing.local,
        ...(thing.remote === '' ? [] : ['to', thing.remote]),
      ].join(' ');
    case 'socket':
      return `a ${thing.protocol ?? ''} socket`.replace('  ', ' ');
    case 'anonymous':
      return thing.name;
    case 'watches':
      return `inotify with ${thing.count} watches`;
    case 'pidfd':
      return 'a pidfd';
    case 'lock':
      return thing.path;
    case 'interrupted':
    case 'sandboxed':
      return thing.program;
    case 'system-v-memory':
      return `System V memory ${thing.key}`;
    case 'mapped-device':
      return `a mapping of ${thing.path}`;
    default:
      return 'the process';
  }
}
