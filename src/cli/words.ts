/** Formats numbers and tables for people. */
import { escapeUnprintable } from '../images/json-text.ts';

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

export function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/** Columns as wide as their longest cell; the last is not padded. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, at) => Math.max(...rows.map((row) => row[at]!.length)));
  return rows.map((row) =>
    row
      .map((cell, at) => (at === row.length - 1 ? cell : cell.padEnd(widths[at]!)))
      .join('  ')
      .trimEnd(),
  );
}

/** JSON whose text no terminal takes for a command. */
export function jsonOf(value: object): string {
  return escapeUnprintable(JSON.stringify(value));
}

/** A word as a shell takes it. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
