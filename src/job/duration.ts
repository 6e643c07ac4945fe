/** Durations as in systemd.time(7): `90`, `10min`, `1h 30min`. Pure. */

const seconds: Readonly<Record<string, number>> = {
  '': 1,
  s: 1,
  sec: 1,
  m: 60,
  min: 60,
  h: 3600,
  hr: 3600,
  d: 86_400,
  day: 86_400,
  days: 86_400,
  w: 604_800,
};

/** A year: what is longer is a mistake. */
const most = 366 * 86_400;

/** @returns whole seconds above 0; undefined if the text is no such duration. */
export function parseDuration(text: string): number | undefined {
  const parts = [...text.trim().matchAll(/(\d{1,9})\s*([a-z]*)\s*/gy)];
  if (parts.length === 0 || parts.map(([all]) => all).join('') !== text.trim()) return undefined;
  let sum = 0;
  for (const [, number, unit] of parts) {
    const factor = Object.hasOwn(seconds, unit!) ? seconds[unit!]! : Number.NaN;
    sum += Number(number) * factor;
  }
  return sum > 0 && sum <= most ? sum : undefined;
}

/** For example, 5400 is `1h 30min`. */
export function durationInWords(whole: number): string {
  const units: readonly (readonly [number, string])[] = [
    [86_400, 'd'],
    [3600, 'h'],
    [60, 'min'],
    [1, 's'],
  ];
  let left = Math.max(0, Math.round(whole));
  const words: string[] = [];
  for (const [size, unit] of units) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count > 0) words.push(`${count}${unit}`);
  }
  return words.slice(0, 2).join(' ') || '0s';
}
