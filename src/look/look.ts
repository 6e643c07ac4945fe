/** Looks at a process tree through /proc, with the rights of the asking user: would a dump of it come back? It changes nothing. */
import { readFileSync, readlinkSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { InstalledCriu } from '../engine/installed-criu.ts';
import { type ReadThread, readTree } from '../proc/process-tree.ts';
import { statOf } from '../proc/stat.ts';
import { statusField, type ThreadStatus } from '../proc/status.ts';
import { parseHardLimits } from '../proc/surroundings.ts';
import { sanitize } from '../systemd/log.ts';
import { classify, type Surrounding, wantedLinks } from './classify.ts';
import { type Conclusion, conclude } from './conclusion.ts';
import { credentialsOf, readOwnStatus } from './credentials.ts';
import { type Descriptor, readDescriptors } from './descriptors.ts';
import { findHolders, nameOf, noHolders } from './holders.ts';
import { knownFault } from './known-programs.ts';
import { mayCreateBeside, mayOpen, readMappings } from './mappings.ts';
import { NamesBeside, sharesPaths } from './name-beside.ts';
import { socketFile } from './socket-file.ts';
import { boundPath, isWhole, protocolOf, readInternetSockets, readUnixSockets } from './sockets.ts';
import { steady } from './steady.ts';
import type { Facts, Found, ProcessFacts, Thing } from './things.ts';

export { commandsFor, nounOf } from './conclusion.ts';

/** Between two looks at the same tree: longer than most processes take from fork(2) to execve(2). */
const pauseMs = 40;

export interface Look extends Conclusion {
  readonly facts: Facts;
}

/**
 * @param nameOfUser names a user.
 * @param credentials a look without them leaves the rules out that the service itself applies before a dump.
 * @returns undefined if there is no such process, or it is hidden.
 */
export async function look(
  pid: number,
  nameOfUser: (uid: number) => string,
  credentials: 'credentials' | 'without-credentials' = 'credentials',
): Promise<Look | undefined> {
  // The addon's threads do not keep Node running.
  const running = setInterval(() => {}, 1000);
  try {
    return await steady(
      async () => {
        const facts = await readFacts(pid, nameOfUser, credentials);
        return facts && { facts, ...conclude(facts) };
      },
      () => sleep(pauseMs),
    );
  } finally {
    clearInterval(running);
  }
}

async function readFacts(
  root: number,
  nameOfUser: (uid: number) => string,
  credentials: 'credentials' | 'without-credentials',
): Promise<Facts | undefined> {
  const own = readOwnStatus();
  const installed = new InstalledCriu(undefined).version();
  const threads = await readTree(root, own.groups);
  if (threads.length === 0) return undefined;
  const pids = new Set(threads.map(({ pid }) => pid));
  const found: Found[] = [
    ...(credentials === 'credentials' ? await credentialsOf(threads, own, nameOfUser) : []),
    ...tracedAmong(threads),
    ...(isKernelThread(root) ? [at(root, { kind: 'kernel-thread' })] : []),
    ...limitsOf(threads, own, nameOfUser),
    ...(pids.has(process.pid) ? [at(root, { kind: 'contains-criuctl' })] : []),
    ...sessionOf(root),
  ];
  const descriptors: Descriptor[] = [];
  const names = new NamesBeside();
  const processes: ProcessFacts[] = [];
  for (const pid of pids) {
    const stopped = threads.some((thread) => thread.pid === pid && thread.state === 'T');
    if (threads.some((thread) => thread.pid === pid && thread.state === 'Z')) continue;
    const read = await readProcess(pid, found, names);
    for (const each of read) descriptors.push(each);
    const facts = factsOf(pid, read.length, stopped, nameOfUser);
    if (facts) processes.push(facts);
    if (facts) found.push(...faultOf(pid, facts.name, read));
  }
  found.push(
    ...things(
      descriptors,
      pids,
      processes.some(({ stopped }) => stopped),
      names,
    ),
  );
  return {
    pid: root,
    isRoot: own.uids[1] === 0,
    criu: await installed,
    linux: release(),
    processes,
    found,
  };
}

function things(
  descriptors: readonly Descriptor[],
  pids: ReadonlySet<number>,
  stopped: boolean,
  names: NamesBeside,
): Found[] {
  const unix = descriptors.some(({ link }) => link.startsWith('socket:')) ? readUnixSockets() : undefined;
  const wanted = wantedLinks(descriptors, unix, terminalOf);
  const surrounding: Surrounding = {
    pids,
    unix,
    internet: unix ? new Map([...pids].flatMap((pid) => [...readInternetSockets(pid)])) : new Map(),
    holders: wanted.size > 0 ? findHolders(wanted, pids) : noHolders,
    stopped,
    mountsOf,
    terminalOf,
    protocolOf: ({ pid, fd }) => protocolOf(`/proc/${pid}/fd/${fd}`),
    writable: mayCreateBeside,
    openable: mayOpen,
    isWhole,
    socketFile: (descriptor, { name, file }) =>
      sharesPaths(descriptor.pid) ? socketFile(name, file, names, () => boundPath(descriptor)) : 'there',
  };
  return classify(descriptors, surrounding);
}

function at(pid: number, thing: Thing): Found {
  return { pid, fds: [], thing };
}

/** Adds the things that are found beside the descriptors. */
async function readProcess(pid: number, found: Found[], names: NamesBeside): Promise<readonly Descriptor[]> {
  try {
    const descriptors = await readDescriptors(pid);
    const mapped = readMappings(pid, names).filter(
      (thing) => thing.kind !== 'system-v-memory' || sharesMemory(pid),
    );
    for (const thing of [...mapped, ...directoryOf(pid)]) found.push(at(pid, thing));
    return descriptors;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ESRCH') found.push(at(pid, { kind: 'unreadable', what: 'its files' }));
    return [];
  }
}

/** A working directory that was removed, or that the looking user may not open. */
function directoryOf(pid: number): Thing[] {
  const link = readlinkSync(`/proc/${pid}/cwd`);
  const path = link.replace(/ \(deleted\)$/, '');
  if (!mayOpen(link, 'read')) return [{ kind: 'not-openable', path: link, use: 'read' }];
  if (path === link || statSync(`/proc/${pid}/cwd`).nlink > 0) return [];
  return [{ kind: 'deleted', path, size: 0, links: 0, writable: mayCreateBeside(path) }];
}

/** False for a process in an IPC namespace of its own, whose memory CRIU dumps. */
function sharesMemory(pid: number): boolean {
  return readlinkSync(`/proc/${pid}/ns/ipc`) === readlinkSync('/proc/self/ns/ipc');
}

function tracedAmong(threads: readonly ReadThread[]): Found[] {
  const traced = new Map(
    threads.filter(({ tracer }) => tracer !== 0).map(({ pid, tracer }) => [pid, tracer]),
  );
  return [...traced].map(([pid, by]) => at(pid, { kind: 'traced', by: { pid: by, name: nameOf(by) } }));
}

/** CAP_SYS_RESOURCE of capabilities(7). */
const resource = 1n << 24n;

/** Processes of other users or groups, if root lacks the capability to read their limits. */
function limitsOf(
  threads: readonly ReadThread[],
  own: ThreadStatus,
  nameOfUser: (uid: number) => string,
): Found[] {
  if (own.uids[1] !== 0 || (own.bounding & resource) !== 0n) return [];
  const foreign = new Map(
    threads.flatMap(({ pid, uids, gids }) => {
      const uid = uids.slice(0, 3).find((each) => each !== 0);
      const gid = gids.slice(0, 3).find((each) => each !== own.gids[0]);
      return uid === undefined && gid === undefined ? [] : [[pid, { uid, gid }] as const];
    }),
  );
  return [...foreign].map(([pid, { uid, gid }]) =>
    at(pid, { kind: 'limits', user: uid === undefined ? undefined : nameOfUser(uid), gid }),
  );
}

function faultOf(pid: number, name: string, descriptors: readonly Descriptor[]): Found[] {
  const fault = knownFault({
    name,
    hasMaster: descriptors.some(({ info }) => info.has('tty-index')),
    noNewPrivs: statusField(textOf(`/proc/${pid}/status`), 'NoNewPrivs') === '1',
    linux: release(),
  });
  return fault ? [at(pid, fault)] : [];
}

/** CRIU dumps a root that leads its session, or a root with shell_job. */
function sessionOf(root: number): Found[] {
  const session = statOf(root)?.session;
  return session === undefined || session === root ? [] : [at(root, { kind: 'session', leader: session })];
}

/** Major numbers of the slaves of pseudo terminals (UNIX98_PTY_SLAVE_MAJOR). */
const firstSlave = 136;
const lastSlave = 143;

function terminalOf(pid: number): number | undefined {
  const terminal = statOf(pid)?.terminal ?? 0;
  const major = (terminal >>> 8) & 0xfff;
  const minor = (terminal & 0xff) | ((terminal >>> 12) & 0xfff00);
  return major >= firstSlave && major <= lastSlave ? (major - firstSlave) * 256 + minor : undefined;
}

/** Linux 6.8 names them; in an older kernel they are the children of process 2. */
function isKernelThread(pid: number): boolean {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    if (statusField(status, 'Kthread') === '1') return true;
    return (pid === 2 || statusField(status, 'PPid') === '2') && statusField(status, 'VmSize') === undefined;
  } catch {
    return false;
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

function mountsOf(pid: number): ReadonlySet<string> | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/mountinfo`, 'latin1');
    return new Set(text.split('\n').map((line) => line.slice(0, line.indexOf(' '))));
  } catch {
    return undefined;
  }
}

function factsOf(
  pid: number,
  descriptors: number,
  stopped: boolean,
  nameOfUser: (uid: number) => string,
): ProcessFacts | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const number = (name: string): number => Number.parseInt(statusField(status, name) ?? '0', 10);
    const uid = number('Uid');
    return {
      pid,
      name: sanitize(status.slice('Name:\t'.length, status.indexOf('\n'))),
      uid,
      user: nameOfUser(uid),
      threads: number('Threads'),
      memory: number('VmRSS') * 1024,
      stopped,
      descriptors,
      descriptorLimit: parseHardLimits(readFileSync(`/proc/${pid}/limits`, 'utf8')).get('Max open files'),
    };
  } catch {
    return undefined;
  }
}
