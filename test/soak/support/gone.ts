/** How a service may go while it is asked. Each resolves when systemd has done what it was told. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { endProcess } from '../../system/support/proc.ts';
import { mainPid } from '../../system/support/unit.ts';

const execute = promisify(execFile);

/** Nobody connects so often in one try of the soak. */
const mostCancelled = 5;

/** A service that waits for an answer to a notification is waited for, so nothing here may stop the event loop. */
export const ways = {
  /** systemd starts it again at once, with what it has kept. */
  killed: async (): Promise<void> => {
    const pid = mainPid();
    if (pid > 0) endProcess(pid);
  },
  restarted: async (): Promise<void> => {
    await execute('systemctl', ['restart', 'criu.service']);
  },
  /** Who connects next starts it; where somebody does in time, systemd cancels the stop in favour of that start, and is told again. */
  stopped: async (): Promise<void> => {
    for (let tries = 0; ; tries += 1) {
      try {
        await execute('systemctl', ['stop', 'criu.service']);
        return;
      } catch (error) {
        const { stderr = '' } = error as { stderr?: string };
        if (tries === mostCancelled || !/^Job for criu\.service canceled\.$/m.test(stderr)) throw error;
      }
    }
  },
} as const;

export type Way = keyof typeof ways;

export const wayNames = Object.keys(ways) as readonly Way[];
