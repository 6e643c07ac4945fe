/** Shared by the tests of batch systems. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { run, script } from '../../system/support/bench.ts';

/** The pids of alice’s processes. */
export function processesOfAlice(): string[] {
  const { stdout } = spawnSync('pgrep', ['--uid', 'alice'], { encoding: 'utf8' });
  return stdout.trim().split('\n').filter(Boolean);
}

export const stepsIn = (number: number, pause: number): string[] => [
  '/usr/bin/python3',
  script('steps.py'),
  `${number}`,
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
