/** What the settings of a machine mean for requests: a finding for each, in words. Pure. */
import { type CriuVersion, isBefore, limitsOf, nameOfVersion, parseRelease } from '../policy/criu-version.ts';

export interface MachineFacts {
  readonly isRoot: boolean;
  /** Undefined if the service's CRIU does not tell its version. */
  readonly criu: CriuVersion | undefined;
  /** As `uname -r` gives it. */
  readonly linux: string;
  /** kernel.yama.ptrace_scope; 0 without Yama. */
  readonly ptraceScope: number;
  /** As {@link canName} of src/policy/yama.ts. */
  readonly canName: boolean;
  /** The state of criu-pids.service; `impossible` where its condition does not hold. */
  readonly pids: 'moved' | 'not-moved' | 'impossible' | 'unknown';
  readonly pidMax: number;
  /** The facts about the kernel that CRIU has for users without root. */
  readonly kerndat: 'kept' | 'outdated' | 'missing';
}

export interface MachineFinding {
  readonly subject: 'CRIU' | 'Linux' | 'Yama' | 'pids' | 'kernel facts';
  readonly found: string;
  /** What is refused, or fails. Empty if nothing is. */
  readonly limits: readonly string[];
  readonly remedy?: string;
}

const firstUnprivileged = [3, 18] as const;
const firstWithPidfds = [6, 5] as const;
/** As criu-pids itself wants (native/pids). */
const fewestPids = 32768;
/** The highest ptrace_scope under which a user's request is served (ptraceScope in src/policy/request-table.ts). */
export const highestScope = { dump: 0, 'pre-dump': 0, restore: 1 } as const;

export function findingsOf(facts: MachineFacts): readonly MachineFinding[] {
  return [criu(facts), linux(facts), yama(facts), pids(facts), kerndat(facts)];
}

function criu({ criu, linux }: MachineFacts): MachineFinding {
  if (!criu) return { subject: 'CRIU', found: 'its version is not known', limits: [] };
  const old = isBefore(criu, firstUnprivileged);
  return {
    subject: 'CRIU',
    found: nameOfVersion(criu),
    limits: [
      ...(old ? ['every request of a user without root is refused: CRIU 3.18 was the first for users'] : []),
      ...limitsOf(criu, linux),
    ],
  };
}

function linux({ linux: release }: MachineFacts): MachineFinding {
  const old = isBefore(parseRelease(release), firstWithPidfds);
  return {
    subject: 'Linux',
    found: release,
    limits: old ? ['every request of a user without root is refused: that takes Linux 6.5'] : [],
  };
}

function yama({ ptraceScope: scope, canName, isRoot }: MachineFacts): MachineFinding {
  const found = `kernel.yama.ptrace_scope is ${scope}`;
  if (scope === 0) return { subject: 'Yama', found, limits: [] };
  if (scope >= 3) {
    return {
      subject: 'Yama',
      found,
      limits: ['every dump and restore fails, root’s too, because no process may trace another'],
      remedy: 'Only the next boot can set it lower: look for it in /etc/sysctl.d',
    };
  }
  const refused = Object.entries(highestScope).flatMap(([verb, highest]) => (scope > highest ? verb : []));
  const whose = isRoot ? 'of a user without root' : 'of yours';
  return {
    subject: 'Yama',
    found,
    limits: [
      `each ${listOf(refused)} ${whose} is refused${canName && scope === 1 ? unlessRelated : ''}`,
      ...(refused.includes('restore')
        ? []
        : [`a restore ${whose} gets no descriptors (--stdout, --inherit-fd)`]),
    ],
    remedy: `As root: sysctl -w kernel.yama.ptrace_scope=0, and a file in /etc/sysctl.d for later boots${canName && scope === 1 ? '; or criu-service with --yama=own' : ''}`,
  };
}

/** The caller cannot see the options of the service. */
const unlessRelated =
  ', unless its target descends from the process that asks, has named anybody (as each job of criuctl run), or was restored by the service (criu-service(8), --yama)';

function listOf(words: readonly string[]): string {
  const last = words.at(-1)!;
  return words.length > 1 ? `${words.slice(0, -1).join(', ')} and ${last}` : last;
}

function pids({ pids: state, pidMax }: MachineFacts): MachineFinding {
  const taken =
    'a restore after a boot, or on another machine, is refused if other processes have the pids, which is likely';
  if (pidMax < fewestPids) {
    return {
      subject: 'pids',
      found: `there are only ${pidMax} (kernel.pid_max)`,
      limits: [taken],
      remedy: `As root: sysctl -w kernel.pid_max=4194304`,
    };
  }
  switch (state) {
    case 'moved':
      return { subject: 'pids', found: 'this boot has its own range (criu-pids.service)', limits: [] };
    case 'unknown':
      return { subject: 'pids', found: 'systemd tells nothing about criu-pids.service', limits: [] };
    case 'impossible':
      return {
        subject: 'pids',
        found: 'they cannot be moved here, as in a container',
        limits: [taken],
      };
    case 'not-moved':
      return {
        subject: 'pids',
        found: 'criu-pids.service has not run in this boot',
        limits: [taken],
        remedy: 'As root: systemctl enable --now criu.socket, which starts it in each boot',
      };
  }
}

function kerndat({ kerndat: state }: MachineFacts): MachineFinding {
  const found = {
    kept: 'kept for users without root (criu-kerndat.service)',
    outdated: 'older than CRIU: the next dump of a user without root takes longer, and renews them',
    missing: 'not kept yet: the first dump of a user without root takes longer, and keeps them',
  }[state];
  return { subject: 'kernel facts', found, limits: [] };
}
