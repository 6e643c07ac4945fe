/** Leftovers that an idle machine must not have, however often the service was killed. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ReqType } from '../../../src/protocol/messages.ts';
import { eventually, run } from '../../system/support/bench.ts';
import { bystanderPids } from '../../system/support/bystanders.ts';
import { ask } from '../../system/support/client.ts';
import { allWait, fdsOfEngine, link, settled } from '../../system/support/it.ts';
import { childrenOf, openFds, processesNamed } from '../../system/support/proc.ts';
import { mainPid, show } from '../../system/support/unit.ts';

/** CAP_CHECKPOINT_RESTORE of capabilities(7), the mark of a confined engine. */
const checkpointRestore = 1n << 40n;

/** Scopes of other tests: their restored processes may still run. */
let others: readonly string[] = [];
let othersCgroups: readonly string[] = [];

/** Call this before the first request. */
export function rememberScopes(): void {
  others = scopes();
  othersCgroups = registered();
}

/** Call this when all restored processes have ended. */
export async function assertNothingIsLeft(): Promise<void> {
  // If the service has exited, this starts the next one, which resumes the stored sessions.
  await ask({ type: ReqType.VERSION });
  await eventually(
    'systemd keeps nothing any more',
    () => show('criu.service', 'NFileDescriptorStore').NFileDescriptorStore === '0',
  );
  const waiting = await allWait();
  await eventually('no engine is left but those that wait', () => {
    const all = processesNamed('criu');
    return all.length === waiting.length && all.every((pid) => waiting.includes(pid));
  });
  try {
    await eventually('no scope is left', () => newScopes().length === 0);
  } catch (error) {
    throw new Error(`${(error as Error).message}: ${newScopes().map(withMembers).join(', ')}`);
  }
  await eventually('no cgroup of an engine is left', () => engineCgroups().length === 0);
  await eventually('no cgroup below that of a caller is left', () =>
    registered().every((name) => othersCgroups.includes(name)),
  );
  await eventually('nothing is traced or stopped', () => threadsThat(isHeld).length === 0);
  const bystanders = bystanderPids();
  const others = (pid: string): boolean => !bystanders.has(Number(pid));
  assert.deepEqual(threadsThat(holdsCapability, others), [], 'somebody has kept the capability of an engine');
  await assertNoDescriptorIsLeft();
}

/** A service that has resumed sessions holds no more descriptors than a fresh service. */
async function assertNoDescriptorIsLeft(): Promise<void> {
  const pid = mainPid();
  const held = await settled(() => besideEngines(pid));
  const where = openFds(pid).map((fd) => link(`/proc/${pid}/fd/${fd}`));
  run('systemctl', 'restart', 'criu.service');
  await ask({ type: ReqType.VERSION });
  await allWait();
  const fresh = await settled(() => besideEngines(mainPid()));
  assert.ok(
    held <= fresh,
    `beside its waiting engines, the service held ${held} descriptors, and ${fresh} when it was just started: ${where.join(', ')}`,
  );
}

/** The number of descriptors that belong to no engine; all children of a service are engines. After a request that found none, more engines wait for a while. */
function besideEngines(pid: number): number {
  return openFds(pid).length - fdsOfEngine * childrenOf(pid).length;
}

/** @param line a line of {@link scopes}. */
function withMembers(line: string): string {
  const group = show(line.split(' ')[0]!, 'ControlGroup').ControlGroup;
  const members = readFileSync(`/sys/fs/cgroup${group}/cgroup.procs`, 'latin1').split('\n').filter(Boolean);
  const what = members.map((pid) => {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    const says = ['Name', 'State', 'Pid', 'PPid', 'TracerPid', 'Uid', 'CapPrm'];
    return status
      .split('\n')
      .filter((each) => says.includes(each.split(':')[0]!))
      .join(' ');
  });
  return `${line} (${what.join('; ')})`;
}

/** One line for each scope, with its state. */
function scopes(): string[] {
  const text = run('systemctl', 'list-units', '--all', '--plain', '--no-legend', 'criu-*.scope');
  return text.split('\n').filter((line) => line !== '');
}

function nameOf(line: string): string {
  return line.split(' ')[0]!;
}

function newScopes(): string[] {
  const known = others.map(nameOf);
  return scopes().filter((line) => !known.includes(nameOf(line)));
}

function engineCgroups(): string[] {
  const { ControlGroup } = show('criu.service', 'ControlGroup');
  return readdirSync(join('/sys/fs/cgroup', ControlGroup!), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
}

/** The names of cgroups that the service has made below those of its callers. */
function registered(): string[] {
  return existsSync('/run/criu-service/cgroups') ? readdirSync('/run/criu-service/cgroups') : [];
}

function isHeld(status: string): boolean {
  return /^State:\s+[tT]/m.test(status) || !/^TracerPid:\s+0$/m.test(status);
}

function holdsCapability(status: string): boolean {
  const isRoots = /^Uid:\s+0\s+0\s+0\s+0$/m.test(status);
  return !isRoots && ['CapPrm', 'CapAmb'].some((name) => (setOf(status, name) & checkpointRestore) !== 0n);
}

function setOf(status: string, name: string): bigint {
  return BigInt(`0x${new RegExp(`^${name}:\\s+([0-9a-f]+)$`, 'm').exec(status)![1]}`);
}

/** The first lines (Name:) of /proc/PID/task/TID/status of the threads that fulfil the condition. */
function threadsThat(
  condition: (status: string) => boolean,
  isMeant: (pid: string) => boolean = () => true,
): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && isMeant(name))
    .flatMap(statusesOf)
    .filter(condition)
    .map((status) => status.slice(0, status.indexOf('\n')));
}

function statusesOf(pid: string): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map((tid) =>
      readFileSync(`/proc/${pid}/task/${tid}/status`, 'latin1'),
    );
  } catch {
    // The process has ended.
    return [];
  }
}
