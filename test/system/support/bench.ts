/** The machine that the tests run on, and the files beside the tests. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { release } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dumpsInternetSockets, parseCriuVersion } from '../../../src/policy/criu-version.ts';

/** The directory of the tests and their files. */
export const payload = dirname(fileURLToPath(import.meta.url));

/** Set by the bench: `container` shares the kernel of its host, `vm` has Debian's own kernel with all features. */
export const inVm = process.env.BENCH === 'vm';

/** A compiled client or target. */
export function binary(name: string): string {
  return join(payload, 'bin', name);
}

export function script(name: string): string {
  return join(payload, 'clients', name);
}

/** An example of ours, in the form that its readers run. */
export function example(name: string): string {
  return join(payload, 'examples', name);
}

/**
 * Marks the running test as not run, with the reason. In the VM it fails instead, because the VM must show everything. To be
 * called in the test itself.
 */
export function cannotShowHere(context: Mocha.Context, reason: string): never {
  if (inVm) throw new Error(`The VM must be able to show this: ${reason}`);
  return attackIsImpossible(context, reason);
}

/** Marks the running test as not run, in the VM, too: this kernel closes the attack's way in by itself. */
export function attackIsImpossible(context: Mocha.Context, reason: string): never {
  Object.assign(context.runnable(), { cannotShowHere: reason });
  return context.skip();
}

let softDirty: boolean | undefined;

/** Without the kernel's tracking of changed memory a pre-dump ends in a BUG of CRIU, and its target in an unknown state. */
export function needsSoftDirty(context: Mocha.Context): void {
  if (!tracksMemory()) cannotShowHere(context, 'this kernel has no soft-dirty tracking');
}

export function tracksMemory(): boolean {
  softDirty ??= succeeds('criu', 'check', '--feature', 'mem_dirty_track');
  return softDirty;
}

/** False where the dump of each program fails that has a TCP or UDP socket. */
export function dumpsInternet(): boolean {
  return dumpsInternetSockets(parseCriuVersion(run('criu', '--version'))!, release());
}

export function needsInternet(context: Mocha.Context): void {
  if (!dumpsInternet()) attackIsImpossible(context, 'this CRIU cannot dump TCP sockets on this kernel');
}

/** A fresh directory on a real file system: CRIU compares device numbers, and /tmp may be anything. */
export function freshDirectory(): string {
  return mkdtempSync('/var/tmp/system-test-');
}

/** For a single command. It only keeps a broken run from hanging: a machine may be emulated, and busy. */
export const commandMs = 600_000;

/** Runs a command to its end. @returns its standard output; its standard error is in the error that it throws. */
export function run(file: string, ...argv: string[]): string {
  return execFileSync(file, argv, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: commandMs,
  });
}

export function succeeds(file: string, ...argv: string[]): boolean {
  try {
    run(file, ...argv);
    return true;
  } catch {
    return false;
  }
}

/** Longer than any event takes under emulation, or beside other load. */
const patienceMs = 400_000;

/** Polls until `condition` holds; the limit only keeps a broken run from hanging. */
export async function eventually(
  what: string,
  condition: () => boolean,
  limitMs: number = patienceMs,
): Promise<void> {
  for (const start = Date.now(); !condition(); ) {
    if (Date.now() - start > limitMs) throw new Error(`It never came to pass that ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
