/** Processes to be dumped, and checks of their state afterwards. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { binary, eventually, freshDirectory, run } from './bench.ts';
import { endProcess, isAlive, isFree, statusLine } from './proc.ts';

const started = new Set<Target>();

/**
 * A process that counts into a file (clients/counting.h). It leaves its parent, session and terminal behind by itself, so that a
 * dump of it is complete.
 */
export class Target {
  readonly pid: number;
  /** The file with its count. */
  readonly file: string;

  constructor(pid: number, file: string) {
    this.pid = pid;
    this.file = file;
    started.add(this);
  }

  static start(): Target {
    const file = join(freshDirectory(), 'count');
    return new Target(Number(run(binary('counter'), file)), file);
  }

  get alive(): boolean {
    return isAlive(this.pid);
  }

  /** The last number. */
  get count(): number {
    return Number(readFileSync(this.file, 'utf8'));
  }

  /** The process exists, is neither traced nor stopped, and counts on. */
  async assertCountsOn(): Promise<void> {
    assert.ok(this.alive, `process ${this.pid} is gone`);
    const before = this.count;
    await eventually(
      `process ${this.pid} counts on from ${before}`,
      () => this.count > before || !this.alive,
    );
    assert.ok(
      this.count > before,
      `process ${this.pid} ended with "${readFileSync(this.file, 'utf8').trim()}"`,
    );
    assert.equal(statusLine(this.pid, 'TracerPid'), '0');
    assert.match(statusLine(this.pid, 'State') ?? 'gone', /^[SRD]/);
  }

  /** The process is gone, and its pid is free for its restore. */
  async assertGone(): Promise<void> {
    await eventually(`process ${this.pid} is gone`, () => isFree(this.pid));
  }

  async kill(): Promise<void> {
    if (this.alive) endProcess(this.pid);
    await this.assertGone();
    started.delete(this);
  }
}

/** A target that is frozen, stopped or traced when a test is over is a leftover. */
export function assertNoTargetIsHeld(): void {
  for (const target of started) {
    if (!target.alive) continue;
    assert.equal(statusLine(target.pid, 'TracerPid'), '0', `process ${target.pid} is still traced`);
    assert.doesNotMatch(
      statusLine(target.pid, 'State') ?? '',
      /^[tT]/,
      `process ${target.pid} is still stopped`,
    );
  }
}

/** The present targets: before a test, those that a suite shares. */
export function presentTargets(): ReadonlySet<Target> {
  return new Set(started);
}

export async function killTargets(except: ReadonlySet<Target> = new Set()): Promise<void> {
  for (const target of [...started]) if (!except.has(target)) await target.kill();
}
