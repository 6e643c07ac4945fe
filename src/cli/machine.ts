/** The settings of this machine that decide about requests. In a bundle of its own: only `criuctl check` reads them. */
import { execFile } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { promisify } from 'node:util';
import type { CriuVersion as ToldVersion } from '../client/results.ts';
import { findCriu } from '../engine/criu-binary.ts';
import { isOutdated, keptKerndat } from '../engine/kerndat.ts';
import type { CriuVersion } from '../policy/criu-version.ts';
import { canName } from '../policy/yama.ts';
import { findingsOf, type MachineFacts, type MachineFinding } from './machine-findings.ts';

export type { MachineFinding } from './machine-findings.ts';

/** @param criu as the service told it; undefined if it did not. */
export async function machineFindings(criu: ToldVersion | undefined): Promise<readonly MachineFinding[]> {
  return findingsOf({
    isRoot: process.geteuid?.() === 0,
    criu: criu && versionOf(criu),
    linux: release(),
    canName,
    ptraceScope: numberIn('/proc/sys/kernel/yama/ptrace_scope'),
    pids: await stateOfPids(),
    pidMax: numberIn('/proc/sys/kernel/pid_max'),
    kerndat: stateOfKerndat(),
  });
}

function versionOf({ major, minor, sublevel = 0, gitId }: ToldVersion): CriuVersion {
  const isDevelopment = gitId !== undefined && /-\d+-g[0-9a-f]+/.test(gitId);
  return { major, minor, sublevel, ...(isDevelopment ? { isDevelopment } : {}) };
}

/** 0 for a file that does not exist, as without Yama. */
function numberIn(path: string): number {
  try {
    return Number(readFileSync(path, 'latin1'));
  } catch {
    return 0;
  }
}

async function stateOfPids(): Promise<MachineFacts['pids']> {
  try {
    const properties = '--property=ActiveState,ConditionResult,ConditionTimestampMonotonic';
    const { stdout } = await promisify(execFile)('systemctl', ['show', properties, 'criu-pids.service']);
    if (stdout.includes('ActiveState=active')) return 'moved';
    const tried = !/^ConditionTimestampMonotonic=0$/m.test(stdout);
    return tried && stdout.includes('ConditionResult=no') ? 'impossible' : 'not-moved';
  } catch {
    return 'unknown';
  }
}

function stateOfKerndat(): MachineFacts['kerndat'] {
  try {
    const times = (path: string) => statSync(path, { bigint: true, throwIfNoEntry: false });
    const kept = times(keptKerndat);
    if (!kept) return 'missing';
    return isOutdated(kept, times(findCriu(undefined))!) ? 'outdated' : 'kept';
  } catch {
    return 'missing';
  }
}
