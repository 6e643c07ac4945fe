/** Shared by the tests of batch systems. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { inVm, run, script } from '../../system/support/bench.ts';

/** The pids of alice’s processes. */
export function processesOfAlice(): string[] {
  const { stdout } = spawnSync('pgrep', ['--uid', 'alice'], { encoding: 'utf8' });
  return stdout.trim().split('\n').filter(Boolean);
}

/** Emulated machines take several times as long for a checkpoint, and a job has to outlast its checkpoints. */
export const slowness = inVm ? 5 : 1;

/** @param number of steps, more in an emulated machine. */
export const stepsIn = (number: number, pause: number): string[] => [
  '/usr/bin/python3',
  script('steps.py'),
  `${number * slowness}`,
  `${pause}`,
];

/** The output of an uninterrupted run. */
export function outputOf(...computation: string[]): string {
  const [file, ...argv] = computation.with(-1, '0');
  return run(file!, ...argv);
}

/** @returns nothing for a file that is absent. */
export function textOf(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}
