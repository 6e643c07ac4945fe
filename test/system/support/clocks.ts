/** Processes that wait for moments of a clock, and the time namespaces in which they wait. */
import { readFileSync, readlinkSync } from 'node:fs';
import { endianness } from 'node:os';
import { startCountingUnder, type User } from '../../hostile/support/people.ts';
import { len, num, packet } from '../../unit/protocol/wire-bytes.ts';
import { binary, inVm, script } from './bench.ts';
import type { Target } from './targets.ts';

/** How a program waits: each stands still if the clock jumps back. */
export const waits = {
  'Python’s time.sleep()': ['python3', script('sleeper.py'), 'sleep'],
  'Python’s threading.Event().wait()': ['python3', script('sleeper.py'), 'event'],
  'Python’s asyncio': ['python3', script('sleeper.py'), 'asyncio'],
  'clock_nanosleep(2) until a moment of CLOCK_MONOTONIC': [binary('ticker'), 'monotonic'],
  'clock_nanosleep(2) until a moment of CLOCK_BOOTTIME': [binary('ticker'), 'boottime'],
} as const satisfies Record<string, readonly string[]>;

/** How far the clocks are ahead of this machine's in the time namespaces of the tests, in seconds. */
export const ahead = 6000;

/** The least distance that shows something: a program that waits for its clock stands still for as long, in seconds. */
export const leastAhead = 60;

/** The command that starts a program as root in a new time namespace. */
export const aheadOfUs = ['unshare', '--time', `--monotonic=${ahead}`, `--boottime=${ahead}`, '--'];

/**
 * A process of this user's that waits in this way.
 * @param under the command that starts it, as root.
 */
export function startWaiting(user: User, wait: readonly string[], under: readonly string[] = []): Target {
  const unshackled = inVm || user === 'root' ? [] : ['--no-new-privs'];
  return startCountingUnder(under, user, unshackled, ...wait);
}

/** An image of CRIU's (timens-0.img) with these seconds and nanoseconds on the monotonic and on the boottime clock. */
export function clocksImage(
  monotonic: readonly [bigint, bigint],
  boottime: readonly [bigint, bigint] = monotonic,
): Buffer {
  const message = packet(
    ...[monotonic, boottime].map(([seconds, nanoseconds], at) =>
      len(at + 1, [...num(1, seconds), ...num(2, nanoseconds)]),
    ),
  );
  const head = new DataView(new ArrayBuffer(12));
  [0x54564319, 0x43114433, message.length].forEach((word, at) => {
    head.setUint32(at * 4, word, endianness() === 'LE');
  });
  return Buffer.concat([new Uint8Array(head.buffer), message]);
}

/** As `time:[4026532345]`. */
export function timeNamespaceOf(pid: number | 'self'): string {
  return readlinkSync(`/proc/${pid}/ns/time`);
}

/** The boottime clock of this machine, in seconds. */
export function uptime(): number {
  return Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]);
}

/** How far the monotonic clock of a process is ahead of this machine's, in seconds. */
export function monotonicOffsetOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/timens_offsets`, 'latin1');
  const [, seconds, nanoseconds] = /^monotonic +(-?\d+) +(\d+)$/m.exec(text)!;
  return Number(seconds) + Number(nanoseconds) / 1e9;
}
