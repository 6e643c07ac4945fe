/** Shared by the native tests: views of this process' descriptors from outside of the addon. */
import { strict as assert } from 'node:assert';
import { spawnSync } from 'node:child_process';
import { lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  type ExitStatus,
  type NativeError,
  native,
  type OwnedFd,
  type Process,
  type SeqpacketSocket,
} from '../../src/native/binding.ts';

const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;

/** Number of open descriptors of this process. */
export function countFds(): number {
  return readdirSync('/proc/self/fd').length;
}

/** The number of close(2) in the table of system calls. */
const closeNumber: Readonly<Record<string, string>> = { x64: '3', arm64: '57' };

/** The number of threads of this process that are inside close(2). */
export function threadsInClose(): number {
  const number = closeNumber[process.arch];
  assert.ok(number, `the number of close(2) on ${process.arch}`);
  return readdirSync('/proc/self/task').filter((tid) => {
    try {
      return readFileSync(`/proc/self/task/${tid}/syscall`, 'latin1').startsWith(`${number} `);
    } catch {
      // The thread has exited.
      return false;
    }
  }).length;
}

/** Resolves when `count` threads are inside close(2). */
export async function threadsAreInClose(count: number): Promise<void> {
  for (let tries = 0; threadsInClose() !== count; tries += 1) {
    assert.ok(tries < 100_000, `${threadsInClose()} threads are inside close(2)`);
    await sleep(1);
  }
}

/** When this process has no more descriptors than before: threads let go of theirs a moment after they have answered. */
export async function noMoreFdsThan(before: number): Promise<void> {
  for (let tries = 0; countFds() > before; tries += 1) {
    assert.ok(tries < 100_000, `${countFds()} descriptors, and ${before} before`);
    await sleep(1);
  }
}

/** Runs `round` many times and requires that no descriptor is left, not even by the first round. */
export function requireNoLeak(round: () => void, rounds = 100): void {
  const before = countFds();
  for (let index = 0; index < rounds; index += 1) round();
  // Others of this process may close theirs meanwhile.
  assert.ok(countFds() <= before, 'descriptors are left open');
}

function descriptorFlags(fd: number): number {
  const match = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'));
  assert.ok(match, `no flags for fd ${fd}`);
  return Number.parseInt(match[1]!, 8);
}

export function isCloexec(fd: number): boolean {
  return (descriptorFlags(fd) & O_CLOEXEC) !== 0;
}

export function isNonBlocking(fd: number): boolean {
  return (descriptorFlags(fd) & O_NONBLOCK) !== 0;
}

export function isOpen(fd: number): boolean {
  // Not readdir: it opens a descriptor itself, which may get the number.
  return lstatSync(`/proc/self/fd/${fd}`, { throwIfNoEntry: false }) !== undefined;
}

/** True when an epoll set of this process contains the descriptor. */
export function isOnEventLoop(fd: number): boolean {
  return readdirSync('/proc/self/fd').some((entry) => {
    let target: string;
    try {
      target = readlinkSync(`/proc/self/fd/${entry}`);
    } catch {
      return false; // The descriptor of the directory itself has gone.
    }
    if (target !== 'anon_inode:[eventpoll]') return false;
    return new RegExp(`^tfd:\\s*${fd} `, 'm').test(readFileSync(`/proc/self/fdinfo/${entry}`, 'utf8'));
  });
}

/** Requires that `action` throws a NativeError. */
export function requireNativeError(action: () => unknown, code: string, syscall: string): NativeError {
  let caught: unknown;
  try {
    action();
  } catch (error) {
    caught = error;
  }
  assert.ok(caught instanceof Error, `nothing was thrown instead of ${code}`);
  const error = caught as NativeError;
  assert.equal(error.code, code, error.stack);
  assert.equal(error.syscall, syscall);
  assert.ok(Number.isInteger(error.errno) && error.errno > 0);
  assert.ok(error.message.startsWith(`${syscall}: `), error.message);
  return error;
}

/** Requires a TypeError whose message begins with the parameter's name. */
export function requireArgumentError(action: () => unknown, parameter: string): void {
  assert.throws(action, (error) => {
    assert.ok(error instanceof TypeError, String(error));
    assert.ok(error.message.startsWith(`${parameter} must `), error.message);
    return true;
  });
}

/** Two connected sockets in this process. */
export function connectedPair(): { near: SeqpacketSocket; far: SeqpacketSocket } {
  const { ours, theirs } = native.socketpair();
  return { near: ours, far: native.adopt(theirs) };
}

export function openNull(): OwnedFd {
  return native.open('/dev/null', 0);
}

/** A directory that is removed after `action`. */
export function withDirectory<Result>(action: (directory: string) => Result): Result {
  const directory = mkdtempSync(join(tmpdir(), 'criu-service-native-'));
  try {
    return action(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

export function exitOf(process: Process): Promise<ExitStatus> {
  return new Promise((resolve) => process.onExit(resolve));
}

/** Polls until something holds that others do. The limit only keeps a broken run from hanging. */
export async function eventually(holds: () => boolean): Promise<void> {
  for (let step = 0; step < 30_000; step += 1) {
    if (holds()) return;
    await sleep(10);
  }
  assert.fail('it never came');
}

/** Lets the event loop turn a few times, so that ready descriptors are reported. */
export async function turnLoop(turns = 5): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Collects garbage until `done`, which the finalizers make true; they run between turns of the loop. */
export async function collectUntil(done: () => boolean): Promise<boolean> {
  for (let round = 0; round < 3000 && !done(); round += 1) {
    await collect();
    // What is closed on another thread needs a processor for that.
    if (round > 10) await sleep(20);
  }
  return done();
}

/** Collects the garbage of this moment. */
export async function collect(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  for (let round = 0; round < 5; round += 1) {
    collectGarbage();
    await turnLoop();
  }
}

/** Runs a program of fixtures/ to its end. */
export function runFixture(
  name: string,
  ...args: string[]
): { status: number | null; signal: string | null; stdout: string; stderr: string } {
  const file = fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));
  return spawnSync(process.execPath, ['--import=tsx', file, ...args], { encoding: 'utf8' });
}

/** Reports a test that this machine cannot run. */
export function cannotShow(context: Mocha.Context, reason: string): never {
  // The reporter prints it (test/support/reporter.mjs).
  Object.assign(context.test!, { cannotShowHere: reason });
  context.skip();
}
