/** run.json: the process of a job's last start or resume, told apart from every other. */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { startTimeOf } from '../proc/stat.ts';

export interface RunRecord {
  readonly format: 1;
  readonly pid: number;
  /** Clock ticks after the boot, field 22 of proc_pid_stat(5). */
  readonly startTime: string;
  readonly bootId: string;
  readonly machineId: string;
  readonly host: string;
  /** ISO 8601. */
  readonly since: string;
  /** The checkpoint that it came from; undefined for a start. */
  readonly from: number | undefined;
  /** A criuctl watches it, and holds the job's watch lock for as long; else it is a unit of systemd's. */
  readonly watched: boolean;
  /** Its unit is stopped although it could not be suspended: an end by the signals of that stop is no end of its command's own. */
  readonly stopped?: true | undefined;
}

/** @returns undefined if the process has ended. */
export function recordOf(pid: number, from: number | undefined, watched: boolean): RunRecord | undefined {
  const startTime = startTimeOf(pid);
  if (startTime === undefined) return undefined;
  return {
    format: 1,
    pid,
    startTime,
    ...thisBoot(),
    host: hostname(),
    since: new Date().toISOString(),
    from,
    watched,
  };
}

export function parseRun(text: string): RunRecord | undefined {
  try {
    const found = JSON.parse(text) as RunRecord;
    const texts = [found.startTime, found.bootId, found.machineId, found.host, found.since];
    const isWhole = found.format === 1 && Number.isSafeInteger(found.pid) && found.pid > 0;
    return isWhole && texts.every((each) => typeof each === 'string') ? found : undefined;
  } catch {
    return undefined;
  }
}

export function whereIs(run: RunRecord): 'runs' | 'gone' | 'on-another-machine' {
  const { bootId, machineId } = thisBoot();
  if (run.machineId !== machineId) return 'on-another-machine';
  return run.bootId === bootId && startTimeOf(run.pid) === run.startTime ? 'runs' : 'gone';
}

function thisBoot(): { readonly bootId: string; readonly machineId: string } {
  const read = (path: string): string => {
    try {
      return readFileSync(path, 'utf8').trim();
    } catch {
      return '';
    }
  };
  return { bootId: read('/proc/sys/kernel/random/boot_id'), machineId: read('/etc/machine-id') };
}
