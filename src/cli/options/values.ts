/** Parses the values of criuctl's options, spelled as on the `criu` command line. A mistake throws a sentence about the value. */

import { parseDuration } from '../../job/duration.ts';

/** The fault of a value, as the rest of a sentence that begins with the option. */
export class ValueError extends Error {
  override readonly name = 'ValueError';
}

export function parsePid(value: string): number {
  if (!/^[1-9][0-9]{0,8}$/.test(value)) throw new ValueError('a pid is a number above 0');
  return Number(value);
}

export function parseCount(value: string): number {
  if (!/^[0-9]{1,9}$/.test(value)) throw new ValueError('a number is needed');
  return Number(value);
}

const usualRounds = 5;
const mostRounds = 100;

/** The limit of rounds of a live dump; empty for the usual one. */
export function parseRounds(value: string): number {
  if (value === '') return usualRounds;
  const rounds = parseCount(value);
  if (rounds < 1 || rounds > mostRounds) throw new ValueError(`a number from 1 to ${mostRounds} is needed`);
  return rounds;
}

/**
 * -v is one level above CRIU's default, and each further v adds a level; -v4 is the level itself (parse_options in
 * criu/config.c).
 */
export function parseVerbosity(value: string): number {
  const byDefault = 2;
  if (/^v*$/.test(value)) return Math.min(byDefault + 1 + value.length, 4);
  if (!/^[0-9]$/.test(value)) throw new ValueError('a level is a digit, as in -v4');
  return Number(value);
}

/** Bytes, or with K, M, G. */
export function parseSize(value: string): number {
  const match = /^([0-9]{1,9})([KMG]?)$/.exec(value);
  const factor = { '': 1, K: 1 << 10, M: 1 << 20, G: 1 << 30 }[match?.[2] ?? ''];
  const size = Number(match?.[1]) * (factor ?? Number.NaN);
  if (!(size <= 0xffffffff))
    throw new ValueError('a size is a number of bytes below 4G, or one with K, M or G');
  return size;
}

const cpuFeatures: Readonly<Record<string, number>> = { fpu: 1, cpu: 2, ins: 4, all: 0xffffffff, none: 0 };

/** Comma-separated; ^ takes a feature away; an empty list means all (parse_cpu_cap in criu/config.c). */
export function parseCpuCap(value: string): number {
  if (value === '') return 0xffffffff;
  let features = 0;
  for (const word of value.split(',')) {
    const without = word.startsWith('^');
    const bits = cpuFeatures[word.slice(without ? 1 : 0)];
    if (bits === undefined)
      throw new ValueError('it takes a list of fpu, cpu, ins, all, none, each with ^ to leave it out');
    if (without && features === 0) features = 0xffffffff;
    features = (without ? features & ~bits : features | bits) >>> 0;
  }
  return features;
}

/** NS:{PID|FILE}[,OPTIONS] */
export function parseJoinNs(value: string): { ns: string; nsFile: string; extraOpt?: string } {
  const match = /^([^:]+):([^,]+)(?:,(.+))?$/.exec(value);
  if (!match) throw new ValueError('it takes NS:PID or NS:FILE');
  const [, ns = '', nsFile = '', extraOpt] = match;
  return { ns, nsFile, ...(extraOpt === undefined ? {} : { extraOpt }) };
}

/** fd[NUM]:KEY */
export function parseInheritFd(value: string): { key: string; fd: number } {
  const match = /^fd\[([0-9]{1,9})\]:(.+)$/.exec(value);
  if (!match) throw new ValueError('it takes fd[NUMBER]:RESOURCE');
  return { fd: Number(match[1]), key: match[2]! };
}

/** [CONTROLLER:]PATH */
export function parseCgroupRoot(value: string): { ctrl?: string; path: string } {
  const at = value.indexOf(':');
  return at === -1 ? { path: value } : { ctrl: value.slice(0, at), path: value.slice(at + 1) };
}

/** Two words with a separator between them. */
export function parsePair(separator: string): (value: string) => [string, string] {
  return (value) => {
    const at = value.indexOf(separator);
    if (at <= 0 || at === value.length - 1) throw new ValueError(`it takes ONE${separator}OTHER`);
    return [value.slice(0, at), value.slice(at + 1)];
  };
}

/** Accepts a word of a closed set. */
export function parseChoice<T extends string>(...choices: readonly T[]): (value: string) => T {
  return (value) => {
    const found = choices.find((choice) => choice === value);
    if (found === undefined) throw new ValueError(`it is one of ${choices.join(', ')}`);
    return found;
  };
}

/** Seconds, from a duration as in systemd.time(7). */
export function parseSeconds(value: string): number {
  const seconds = parseDuration(value);
  if (seconds === undefined) throw new ValueError('a duration is needed, as 90s, 10min or 1h 30min');
  return seconds;
}

export function parseInterval(value: string): number | 'auto' {
  return value === 'auto' ? 'auto' : parseSeconds(value);
}

export function parsePositive(value: string): number {
  const number = parseCount(value);
  if (number < 1) throw new ValueError('a number above 0 is needed');
  return number;
}

export function parseStatus(value: string): number {
  const status = parseCount(value);
  if (status > 255) throw new ValueError('an exit status is a number up to 255');
  return status;
}

/** With or without SIG. Signals that no process can wait for, or that tell of its own faults, suspend nothing. */
export function parseSignal(value: string): NodeJS.Signals {
  const name = `SIG${value.toUpperCase().replace(/^SIG/, '')}`;
  const useful = [
    'SIGUSR1',
    'SIGUSR2',
    'SIGTERM',
    'SIGINT',
    'SIGHUP',
    'SIGQUIT',
    'SIGXCPU',
    'SIGTSTP',
    'SIGPWR',
  ];
  if (!useful.includes(name))
    throw new ValueError(`a signal is needed: ${useful.map((each) => each.slice(3)).join(', ')}`);
  return name as NodeJS.Signals;
}
