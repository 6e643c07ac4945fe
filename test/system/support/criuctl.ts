/** The criuctl of the package, as a script calls it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { as, type User } from '../../hostile/support/people.ts';
import { commandMs } from './bench.ts';

export interface Ended {
  readonly status: number | null;
  /** Absent if it has ended by itself. */
  readonly signal?: NodeJS.Signals;
  readonly stdout: string;
  readonly stderr: string;
}

export function criuctlAs(user: User, ...argv: string[]): Ended {
  const [file, ...rest] = [...as(user), 'criuctl', ...argv];
  const { status, signal, stdout, stderr } = spawnSync(file!, rest, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: commandMs,
    killSignal: 'SIGKILL',
  });
  return { status, stdout, stderr, ...(signal === null ? {} : { signal }) };
}

export const criuctl = (...argv: string[]): Ended => criuctlAs('root', ...argv);

export function must(ended: Ended): Ended {
  assert.equal(ended.status, 0, JSON.stringify(ended));
  return ended;
}

export function failed(ended: Ended, status: number, ...sentences: RegExp[]): void {
  assert.equal(ended.status, status, JSON.stringify(ended));
  assert.equal(ended.stdout, '');
  for (const sentence of sentences) assert.match(ended.stderr, sentence);
}
