/** Formats numbers for people. */

/** For example, 1536 is `1.5 KiB`. */
export function inBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let amount = bytes;
  let unit = 0;
  while (amount >= 1024 && unit < units.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? amount : amount.toFixed(1)} ${units[unit]}`;
}

/** For example, 1500 microseconds are `1.5 ms`. */
export function inTime(usec: number): string {
  if (usec < 1000) return `${usec} µs`;
  return usec < 1_000_000 ? `${(usec / 1000).toFixed(1)} ms` : `${(usec / 1_000_000).toFixed(2)} s`;
}
