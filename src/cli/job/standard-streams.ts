/** The standard streams of a job that starts: files, or a terminal of its own. */
import { closeSync, constants, openSync } from 'node:fs';
import type { Job } from '../../job/job.ts';
import { native, type OwnedFd, type TerminalMaster } from '../../native/binding.ts';

export interface StandardStreams {
  readonly descriptors: readonly [number, number, number];
  readonly terminal?: OwnTerminal;
  close(): void;
}

/** For the process that holds a terminal: its master, and the file that its output is appended to. */
export interface OwnTerminal {
  readonly master: TerminalMaster;
  readonly output: OwnedFd;
}

export function filesOf(job: Job): StandardStreams {
  const opened = [
    openSync(job.spec!.stdin ?? '/dev/null', 'r'),
    openSync(job.at('stdout'), 'a', 0o600),
    openSync(job.at('stderr'), 'a', 0o600),
  ] as const;
  return {
    descriptors: opened,
    close: () => {
      for (const fd of opened) closeSync(fd);
    },
  };
}

/** As of a terminal that tells no size. */
const usual = { rows: 24, columns: 80 };

export function terminalOf(job: Job): StandardStreams {
  const master = native.adoptTerminal(native.open('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY));
  master.resize(usual.rows, usual.columns);
  const peer = master.openPeer();
  const { O_WRONLY, O_APPEND, O_CREAT } = constants;
  const output = native.open(job.at('stdout'), O_WRONLY | O_APPEND | O_CREAT, 0o600);
  return {
    descriptors: [peer.number, peer.number, peer.number],
    terminal: { master, output },
    close: () => {
      for (const each of [master, peer, output]) each.close();
    },
  };
}
