/** The end of a job's process, which is no child of the process that waits for it. */
import { native } from '../native/binding.ts';

export interface Ending {
  /** The process is left alone. */
  close(): void;
}

/**
 * @param call is called once, when it has ended; at once if there is no such process.
 * @returns undefined if there is no such process. @throws NativeError without a descriptor for it
 */
export function endingOf(pid: number, call: () => void): Ending | undefined {
  try {
    const process = native.adoptProcess(native.pidfdOpen(pid), pid);
    process.onExit(call);
    return process;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    call();
    return undefined;
  }
}
