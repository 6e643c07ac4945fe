/**
 * The clocks of a restored tree: how far they are from the host's. Pure. The values in the images are the caller's to choose, and
 * move the clocks of its own processes alone. Set-user-ID programs that these processes execute have them, too, and measure by
 * them how old something is: a ticket of sudo's expires by CLOCK_BOOTTIME. So no clock goes back behind the host's, and each time
 * is right that the kernel can count on from.
 */
import { type Clocks, type ClockTime, decodeClocksImage } from '../protocol/clocks-image.ts';

const second = 1_000_000_000n;

/** KTIME_SEC_MAX of the kernel is 9,223,372,036 seconds. A time namespace takes clocks up to the half (proc_timens_set_offset). */
const latest = 9_223_372_036n / 2n;

/** The launcher's view of the clocks, see LauncherClocks. */
export interface ClocksHere {
  /** Absent if the images have no clocks. */
  readonly image?: Uint8Array;
  readonly now: Clocks;
  /** The offsets of the clocks in `now` from the host's, as /proc/PID/timens_offsets tells them. */
  readonly own: string;
}

/**
 * Each clock is that of the dump, or the host's if the host's is ahead.
 * @returns the offsets from the host's clocks; undefined if the images have no clocks; or why the images are not restored, as the
 * end of a sentence about the file.
 */
export function offsetsOf({ image, now, own }: ClocksHere): Clocks | string | undefined {
  if (image === undefined) return undefined;
  const dumped = decodeClocksImage(image);
  if (typeof dumped === 'string') return `is damaged: it ${dumped}`;
  for (const name of ['monotonic', 'boottime'] as const) {
    const { seconds, nanoseconds } = dumped[name];
    if (nanoseconds >= second)
      return `is damaged: its ${name} clock has ${nanoseconds} nanoseconds of a second`;
    if (seconds >= latest) {
      const told = BigInt.asIntN(64, seconds);
      return `has a ${name} clock of ${told} seconds, which is ${told < 0n ? 'before zero' : 'beyond what the kernel can count from'}`;
    }
  }
  const ours = parseOffsets(own);
  const offset = (name: keyof Clocks): ClockTime => {
    const own = inNanoseconds(ours[name]);
    const exact = inNanoseconds(dumped[name]) - inNanoseconds(now[name]) + own;
    // Where root has put a caller behind the host's clock, its trees may be there, too.
    const least = own < 0n ? own : 0n;
    return fromNanoseconds(exact < least ? least : exact);
  };
  return { monotonic: offset('monotonic'), boottime: offset('boottime') };
}

/**
 * The two lines of /proc/PID/timens_offsets, time_namespaces(7).
 * @throws Error if the kernel's text is another one.
 */
export function parseOffsets(text: string): Clocks {
  const offset = (name: string): ClockTime => {
    const [, seconds, nanoseconds] = new RegExp(`^${name} +(-?\\d+) +(\\d+)$`, 'm').exec(text) ?? [];
    if (seconds === undefined || nanoseconds === undefined) {
      throw new Error(`/proc/PID/timens_offsets has no line ${name}`);
    }
    return { seconds: BigInt(seconds), nanoseconds: BigInt(nanoseconds) };
  };
  return { monotonic: offset('monotonic'), boottime: offset('boottime') };
}

function inNanoseconds({ seconds, nanoseconds }: ClockTime): bigint {
  return seconds * second + nanoseconds;
}

function fromNanoseconds(all: bigint): ClockTime {
  const nanoseconds = ((all % second) + second) % second;
  return { seconds: (all - nanoseconds) / second, nanoseconds };
}
