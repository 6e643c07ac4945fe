/** A process that criuctl watches, though it is no child of criuctl's. */
import { setTimeout as delay } from 'node:timers/promises';
import { type ExitStatus, native, type Process } from '../native/binding.ts';

/** Time for the parent to reap it. The kernel tells its status then. */
const reapPatienceMs = 5000;
const reapStepMs = 10;

export class Running {
  readonly pid: number;
  /** It has ended, and its parent may have yet to reap it. */
  readonly ended: Promise<unknown>;
  readonly end: Promise<ExitStatus>;
  readonly #process: Process;

  /** @returns undefined if there is no such process any more. */
  static find(pid: number): Running | undefined {
    try {
      return new Running(native.adoptProcess(native.pidfdOpen(pid), pid));
    } catch {
      return undefined;
    }
  }

  private constructor(process: Process) {
    this.pid = process.pid;
    this.#process = process;
    const ended = new Promise<ExitStatus>((resolve) => process.onExit(resolve));
    this.ended = ended;
    this.end = ended.then((status) => (status.kind === 'unknown' ? this.#statusOfReaped() : status));
  }

  /** False if it has ended. */
  signal(signal: number): boolean {
    return this.#process.signal(signal);
  }

  /** Ends the watch. The process is left alone. */
  close(): void {
    this.#process.close();
  }

  async #statusOfReaped(): Promise<ExitStatus> {
    for (let waited = 0; waited <= reapPatienceMs; waited += reapStepMs) {
      // Nobody asks any more after close().
      if (this.#process.pidfd.number < 0) break;
      const status = native.endOf(this.#process.pidfd);
      if (status) return status;
      if (status === null) break;
      await delay(reapStepMs);
    }
    return { kind: 'unknown' };
  }
}
