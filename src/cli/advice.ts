/** Advice about a failure. Pure: all facts from the machine come in as {@link Circumstances}. */
import type { CriuErrorCode } from '../client/criu-error.ts';
import type { Sentence } from './criu-errors.ts';
import type { Verb } from './options/row.ts';
import { optionTable } from './options/table.ts';
import type { Taken } from './pid-holder.ts';
import { aboutTaken } from './taken-pid.ts';

export interface Circumstances {
  readonly verb: Verb;
  readonly code: CriuErrorCode;
  readonly errnoName: string | undefined;
  readonly criuMessage: string | undefined;
  /** CRIU's error lines. */
  readonly lines: readonly string[];
  /** The sentence about them. */
  readonly sentence?: Sentence | undefined;
  readonly uid: number;
  /** The process that the dump was for. */
  readonly target?: { readonly pid: number; readonly uid: number; readonly user: string } | undefined;
  /** The holder of the pid that a restore needs. */
  readonly taken?: Taken | undefined;
  /** The images' directory, and the free bytes of its file system. */
  readonly disk?: { readonly path: string; readonly free: number } | undefined;
  /** The images' directory of a restore, if it holds no images at all. */
  readonly noImages?: string | undefined;
  /** The directory that cannot be opened. */
  readonly directory?: string | undefined;
  /** The address where the service was expected. */
  readonly address: string;
  readonly addressIsOurs: boolean;
}

/** Returns sentences, the most likely first. */
export function advise(circumstances: Circumstances): string[] {
  switch (circumstances.code) {
    case 'UNREACHABLE':
      return unreachable(circumstances);
    case 'DIRECTORY':
      return [directory(circumstances)];
    case 'FAILED':
    case 'NOTIFICATION':
      return failed(circumstances);
    case 'CLOSED':
      return ['The service may have been stopped or restarted: journalctl --unit=criu.service'];
    default:
      return [];
  }
}

function unreachable({ errnoName, address, addressIsOurs }: Circumstances): string[] {
  if (errnoName === 'EACCES') {
    return [
      `You may not connect to ${address}: ls -l ${address} shows who may, and an administrator can add you to its group`,
    ];
  }
  if (!addressIsOurs) return [`Is a service listening on ${address}?`];
  const start = 'Start the service, as root: systemctl enable --now criu.socket';
  return errnoName === 'ENOENT'
    ? [start]
    : [start, 'If it is enabled: systemctl status criu.socket criu.service'];
}

function directory({ verb, errnoName, directory: path = 'it' }: Circumstances): string {
  if (errnoName === 'ENOENT' && verb !== 'restore') return `Create it: mkdir -p ${path}`;
  if (errnoName === 'ENOENT') return 'Name the directory of the images with -D';
  if (errnoName === 'EACCES') return `You may not open it: ls -ld ${path}`;
  return `Is it a directory? ls -ld ${path}`;
}

function failed(circumstances: Circumstances): string[] {
  const { target, uid, taken, disk, noImages, lines, errnoName, criuMessage, verb, sentence } = circumstances;
  const text = [...lines, criuMessage ?? ''].join('\n');
  const advice: string[] = [];
  if (target && uid !== 0 && target.uid !== uid) {
    const who = target.uid === 0 ? 'root' : `${target.user} and root`;
    advice.push(`Process ${target.pid} belongs to ${target.user}: only ${who} may dump it`);
  }
  if (taken) advice.push(aboutTaken(taken));
  if (noImages !== undefined)
    advice.push(`There are no images in ${noImages}: name the directory of a dump with -D`);
  if (disk) advice.push(`The file system of ${disk.path} is full: ${disk.free} bytes are left`);
  // A sentence of the table knows whether the option works for this user.
  if (sentence) advice.push(...sentence.remedies);
  else for (const option of suggestedOptions(text)) advice.push(`Try it with ${option}`);
  if (/nested time namespace/.test(text)) {
    advice.push(
      'CRIU dumps a tree only if all its processes are in one time namespace: ls -l /proc/PID/ns/time',
    );
  }
  if (/yama/i.test(text)) {
    advice.push(
      'As root: sysctl kernel.yama.ptrace_scope shows it, and sysctl -w sets it until the next boot',
    );
  }
  if (verb === 'restore' && uid !== 0 && /capabilit/i.test(text)) {
    advice.push('A process with privileges of its own is restored by root');
  }
  if (errnoName === 'ESRCH') advice.push('It may have ended: look with ps');
  return advice;
}

/** CRIU names options of its command line in its errors; criuctl has the same options. */
function suggestedOptions(text: string): string[] {
  const named = [...text.matchAll(/(?:consider using|try|use)[^\n]*?--([a-z][a-z-]+)/gi)].map(
    (match) => match[1]!,
  );
  // The message of CRIU 4.1 for a terminal whose other end is outside; it does not name the option (tty_verify_active_pairs in
  // criu/tty.c).
  if (/without correspond master peer/.test(text)) named.push('shell-job');
  if (/link[ -]remap option/i.test(text)) named.push('link-remap');
  if (/\bghost file\b.*\b(too large|bigger)|bigger than.*ghost/i.test(text)) named.push('ghost-limit');
  const known = named.filter((name) =>
    optionTable.some(({ long, impossible }) => long === name && !impossible),
  );
  return [...new Set(known)].map((name) => `--${name}`);
}
