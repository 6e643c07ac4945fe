/** Looks at this machine as its user: is there what a restore of these images needs? */
import { accessSync, closeSync, constants, readdirSync, readFileSync, statSync } from 'node:fs';
import { statOf } from '../proc/stat.ts';
import { internetSocket } from './addresses.ts';
import { first } from './bounded.ts';
import { buildIdOf } from './build-id.ts';
import type { Dumped } from './completeness.ts';
import type { Message } from './message.ts';
import { openRegular } from './open-regular.ts';
import { PortsInUse } from './ports.ts';
import type { Reading } from './reading.ts';
import { coreFacts, credentialsOf } from './task-images.ts';
import type { DumpedFile, FileHere, Named, Thing } from './things.ts';

/** What the caller of the verification knows of this machine. */
export interface Machine {
  /** The process with this number. @returns undefined if there is none. */
  readonly processOf: (
    pid: number,
  ) => { readonly as: 'process' | 'thread' | 'service'; readonly by: Named | undefined } | undefined;
  readonly userName: (uid: number) => string;
}

type Tell = (thing: Thing) => void;

export function judgeMachine(reading: Reading, dumped: Dumped, machine: Machine, tell: Tell): void {
  const { namespaces } = dumped;
  if (namespaces.size > 0) tell({ kind: 'namespaces', names: [...namespaces].sort() });
  judgeTasks(reading, dumped, tell);
  if (!namespaces.has('pid')) judgeNumbers(dumped, machine, tell);
  judgeOpenFiles(reading, dumped, machine, tell);
  judgeTerminals(reading, dumped, tell);
}

const architectures: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64' };

function architectureHere(): string {
  return architectures[process.arch] ?? process.arch;
}

/** The kernel gives nobody a number that a process, a thread, a process group or a session has. */
function judgeNumbers({ tree }: Dumped, { processOf }: Machine, tell: Tell): void {
  const wanted = new Map<number, 'process' | 'thread'>();
  for (const { pid, threads } of tree.tasks) {
    for (const tid of threads) wanted.set(tid, 'thread');
    wanted.set(pid, 'process');
  }
  const groups = wanted.size > 0 ? groupsHere(wanted) : new Map();
  for (const [number, of] of wanted) {
    const holder = processOf(number);
    const group = groups.get(number);
    tell({
      kind: 'number',
      number,
      of,
      usedAs: holder?.as ?? group?.as,
      by: holder?.by ?? (group && processOf(group.member)?.by),
    });
  }
}

function groupsHere(
  wanted: ReadonlyMap<number, unknown>,
): Map<number, { readonly as: 'process group' | 'session'; readonly member: number }> {
  const found = new Map<number, { readonly as: 'process group' | 'session'; readonly member: number }>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = statOf(name);
    if (!stat) continue;
    const { group, session } = stat;
    const member = Number(name);
    if (wanted.has(session)) found.set(session, { as: 'session', member });
    else if (wanted.has(group)) found.set(group, { as: 'process group', member });
  }
  return found;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function judgeOpenFiles(
  reading: Reading,
  { remapped, namespaces }: Dumped,
  machine: Machine,
  tell: Tell,
): void {
  const ports = namespaces.has('net') ? undefined : new PortsInUse();
  reading.each('files.img', 'FILES', ({ message }) => {
    const file = message.message('reg');
    const socket = message.message('isk');
    const external = message.message('ext') ?? (file?.bool('ext') ? file : undefined);
    if (external) tell({ kind: 'external', name: external.text('name') ?? `file ${message.number('id')}` });
    else if (file && !namespaces.has('mnt') && !remapped.has(message.number('id')!)) judgeFile(file, tell);
    else if (socket && ports) judgeSocket(socket, ports, machine, tell);
  });
}

/** Files of the kernel's own, which are made anew: a terminal, a process of the tree, memory. */
const madeAnew = /^\/(proc|dev\/pts)\/|^\/dev\/(zero|shm)\b.* \(deleted\)$|^\/SYSV|^\/memfd:/;

function judgeFile(file: Message, tell: Tell): void {
  const path = file.text('name')!;
  if (!path.startsWith('/') || madeAnew.test(path)) return;
  const buildId = Buffer.concat(
    first(file.numbers('build_id'), 64).map((word) => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32LE(word >>> 0);
      return bytes;
    }),
  ).toString('hex');
  const dumped: DumpedFile = {
    size: file.number('size'),
    mode: file.number('mode'),
    buildId: buildId === '' ? undefined : buildId,
  };
  tell({ kind: 'file', path, dumped, here: fileHere(path, file.number('flags')!, dumped) });
}

const pathOnly = 0o10000000;

/** Opens nothing that could wait or change: only regular files, and those only for their build-id. */
export function fileHere(path: string, flags: number, dumped: DumpedFile): FileHere {
  try {
    const stat = statSync(path);
    const use = flags & 3;
    if ((flags & pathOnly) === 0) {
      if (use !== constants.O_WRONLY && !mayOpen(path, constants.R_OK)) return { is: 'closed', use: 'read' };
      if (use !== constants.O_RDONLY && !mayOpen(path, constants.W_OK)) return { is: 'closed', use: 'write' };
    }
    const buildId = dumped.buildId !== undefined && stat.isFile() ? buildIdAt(path) : undefined;
    return { is: 'there', size: stat.isFile() ? stat.size : undefined, mode: stat.mode, buildId };
  } catch (error) {
    const { code = 'an error' } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' || code === 'ENOTDIR' ? { is: 'absent' } : { is: 'unseen', why: code };
  }
}

function mayOpen(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}

/** The digits are compared up to the words that CRIU stores. */
function buildIdAt(path: string): string | undefined {
  const opened = openRegular(path, 'followed');
  if (!('fd' in opened)) return undefined;
  try {
    const found = buildIdOf(opened.fd);
    return found?.padEnd(Math.ceil(found.length / 8) * 8, '0');
  } finally {
    closeSync(opened.fd);
  }
}

function judgeSocket(entry: Message, ports: PortsInUse, { userName }: Machine, tell: Tell): void {
  const socket = internetSocket(entry);
  if (socket.state === 'connected' && socket.protocol === 'TCP') {
    tell({ kind: 'connection', local: socket.local, remote: socket.remote });
    return;
  }
  if (socket.port === 0) return;
  const reuses = entry.message('opts')?.bool('so_reuseport') ?? false;
  const uid = reuses ? undefined : ports.holderOf(socket);
  tell({
    kind: 'port',
    protocol: socket.protocol,
    address: socket.local,
    user: uid === undefined ? undefined : userName(uid),
  });
}

function judgeTerminals(reading: Reading, { tree }: Dumped, tell: Tell): void {
  const pids = new Set(tree.tasks.map(({ pid }) => pid));
  reading.each('tty-info.img', 'TTY_INFO', ({ message }) => {
    const session = message.number('sid')!;
    const index = message.message('pty')?.number('index');
    const name = index === undefined ? 'a terminal' : `/dev/pts/${index}`;
    tell({ kind: 'terminal', name, outside: session !== 0 && !pids.has(session) });
  });
}

/** In the order of RLIMIT_CPU and the others, with their names in /proc/self/limits. */
const limitNames = [
  ['RLIMIT_CPU', 'Max cpu time'],
  ['RLIMIT_FSIZE', 'Max file size'],
  ['RLIMIT_DATA', 'Max data size'],
  ['RLIMIT_STACK', 'Max stack size'],
  ['RLIMIT_CORE', 'Max core file size'],
  ['RLIMIT_RSS', 'Max resident set'],
  ['RLIMIT_NPROC', 'Max processes'],
  ['RLIMIT_NOFILE', 'Max open files'],
  ['RLIMIT_MEMLOCK', 'Max locked memory'],
  ['RLIMIT_AS', 'Max address space'],
  ['RLIMIT_LOCKS', 'Max file locks'],
  ['RLIMIT_SIGPENDING', 'Max pending signals'],
  ['RLIMIT_MSGQUEUE', 'Max msgqueue size'],
  ['RLIMIT_NICE', 'Max nice priority'],
  ['RLIMIT_RTPRIO', 'Max realtime priority'],
  ['RLIMIT_RTTIME', 'Max realtime timeout'],
] as const;

const infinite = 2 ** 64 - 1;

/** Each image is read again, so that no facts about all tasks are kept. */
function judgeTasks(reading: Reading, { tree, namespaces }: Dumped, tell: Tell): void {
  const here = textOf('/proc/self/limits');
  const hard = limitNames.map(([, label]) => {
    const text = new RegExp(`^${label} +\\S+ +(\\S+)`, 'm').exec(here)?.[1];
    return text === undefined || text === 'unlimited' ? Number.POSITIVE_INFINITY : Number(text);
  });
  for (const { pid } of tree.tasks) {
    reading.each(`core-${pid}.img`, 'CORE', ({ message }) => {
      tell({ kind: 'architecture', dumped: coreFacts(message).architecture, here: architectureHere() });
      const credentials = namespaces.has('user') ? undefined : credentialsOf(message);
      if (credentials) tell({ kind: 'credentials', pid, ...credentials });
      const limits = message.message('tc')?.message('rlimits')?.messages('rlimits') ?? [];
      for (const [index, limit] of first(limits, limitNames.length).entries()) {
        const max = limit.number('max')!;
        tell({
          kind: 'limit',
          pid,
          name: limitNames[index]![0],
          dumped: max >= infinite ? Number.POSITIVE_INFINITY : max,
          here: hard[index]!,
        });
      }
    });
  }
}
