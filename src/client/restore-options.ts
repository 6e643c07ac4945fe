/** Options of a dump without which the restore of its images fails. Pure. */
import type { DumpOptions } from './options.ts';

const words: readonly (readonly [option: keyof DumpOptions, word: string])[] = [
  ['shellJob', '--shell-job'],
  ['tcpEstablished', '--tcp-established'],
  ['tcpClose', '--tcp-close'],
  ['extUnixSk', '--ext-unix-sk'],
  ['fileLocks', '--file-locks'],
  ['linkRemap', '--link-remap'],
  ['evasiveDevices', '--evasive-devices'],
  ['lazyPages', '--lazy-pages'],
  ['mntnsCompatMode', '--mntns-compat-mode'],
  ['emptyNs', '--empty-ns'],
  ['external', '--external'],
];

/** @returns words of criuctl's command line, without their values. */
export function restoreOptionsOf(options: Partial<DumpOptions>): string[] {
  return words.flatMap(([option, word]) => {
    const value = options[option];
    const given = Array.isArray(value) ? value.length > 0 : Boolean(value);
    return given ? [word] : [];
  });
}
