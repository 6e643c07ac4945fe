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
  return whole((keep) => {
    const open = (path: string, flags: string): number => {
      const fd = openSync(path, flags, 0o600);
      keep(() => closeSync(fd));
      return fd;
    };
    return {
      descriptors: [
        open(job.spec!.stdin ?? '/dev/null', 'r'),
        open(job.at('stdout'), 'a'),
        open(job.at('stderr'), 'a'),
      ],
    };
  });
}

/** As of a terminal that tells no size. */
const usual = { rows: 24, columns: 80 };

export function terminalOf(job: Job): StandardStreams {
  return whole((keep) => {
    const kept = <T extends { close(): void }>(each: T): T => {
      keep(() => each.close());
      return each;
    };
    const master = kept(
      native.adoptTerminal(native.open('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY)),
    );
    master.resize(usual.rows, usual.columns);
    const peer = kept(master.openPeer());
    const { O_WRONLY, O_APPEND, O_CREAT } = constants;
    const output = kept(native.open(job.at('stdout'), O_WRONLY | O_APPEND | O_CREAT, 0o600));
    return {
      descriptors: [peer.number, peer.number, peer.number],
      terminal: { master, output },
    };
  });
}

/** After a failure halfway, nothing is open. @param open gets a place for what closes each. */
function whole(open: (keep: (close: () => void) => void) => Omit<StandardStreams, 'close'>): StandardStreams {
  const closings: (() => void)[] = [];
  const close = (): void => {
    for (const each of closings.splice(0)) each();
  };
  try {
    return { ...open((each) => closings.push(each)), close };
  } catch (error) {
    close();
    throw error;
  }
}
