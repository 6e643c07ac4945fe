/** The end of a restored process, in words and as an exit status. Pure. */
import { constants } from 'node:os';
import type { ExitStatus } from '../native/binding.ts';
import { exitCodes } from './exit-codes.ts';

/** The exit status of criuctl for that of a process, as a shell has it. */
export function exitCodeOf(status: ExitStatus): number {
  switch (status.kind) {
    case 'exited':
      return status.code;
    case 'signalled':
      return 128 + status.signal;
    case 'unknown':
      return exitCodes.done;
  }
}

/** The rest of a sentence that begins with the process. */
export function inWords(status: ExitStatus): string {
  switch (status.kind) {
    case 'exited':
      return `ended with status ${status.code}`;
    case 'signalled':
      return `was ended by ${signalName(status.signal)}`;
    case 'unknown':
      return 'ended; its status cannot be known: kernels before Linux 6.15 tell it only to the parent';
  }
}

/** For --json; null is unknown. */
export function inJson(status: ExitStatus): {
  readonly status: number | null;
  readonly signal: string | null;
} {
  return {
    status: status.kind === 'exited' ? status.code : null,
    signal: status.kind === 'signalled' ? signalName(status.signal) : null,
  };
}

function signalName(number: number): string {
  const named = Object.entries(constants.signals).find(([, each]) => each === number);
  return named?.[0] ?? `signal ${number}`;
}
