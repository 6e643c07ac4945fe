/** Data that the tests before a reboot leave for those after it. */
import { readFileSync, writeFileSync } from 'node:fs';

/** On the disk of the machine: /tmp and /run do not outlive a reboot. */
const file = '/var/lib/bench/other-boot.json';

/** A program of alice's that waits for moments of its clock. */
export interface LeftWaiting {
  /** How it waits: a key of `waits`. */
  readonly wait: string;
  readonly images: string;
  readonly pid: number;
  readonly countFile: string;
  /** Seconds on the boottime clock at the dump. */
  readonly clock: number;
}

export interface Left {
  readonly bootId: string;
  readonly waiting: readonly LeftWaiting[];
  readonly images: string;
  readonly pid: number;
  readonly countFile: string;
  readonly count: number;
}

/** Different for each boot, see random(4). */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

export function leave(left: Left): void {
  writeFileSync(file, JSON.stringify(left));
}

export function findLeft(): Left {
  return JSON.parse(readFileSync(file, 'utf8')) as Left;
}

const jobsFile = '/var/lib/bench/other-boot-jobs.json';

/** A job that runs when the machine is shut down. */
export interface LeftJob {
  readonly user: 'alice' | 'root';
  readonly name: string;
  readonly pid: number;
  readonly lines: number;
}

export function leaveJobs(jobs: readonly LeftJob[]): void {
  writeFileSync(jobsFile, JSON.stringify(jobs));
}

export function findLeftJobs(): readonly LeftJob[] {
  return JSON.parse(readFileSync(jobsFile, 'utf8')) as readonly LeftJob[];
}
