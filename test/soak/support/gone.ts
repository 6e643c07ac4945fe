/** Ways to end the service during a request. Each resolves when systemd has carried the command out. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { endProcess } from '../../system/support/proc.ts';
import { mainPid } from '../../system/support/unit.ts';

const execute = promisify(execFile);

/** More cancelled stops than one try of the soak can cause. */
const mostCancelled = 5;

/** All asynchronous: the service may wait for this process to answer a notification, so the event loop must not block. */
export const ways = {
  /** systemd starts the service again at once, with the stored sessions. */
  killed: async (): Promise<void> => {
    const pid = mainPid();
    if (pid > 0) endProcess(pid);
  },
  restarted: async (): Promise<void> => {
    await execute('systemctl', ['restart', 'criu.service']);
  },
  /** The next connection starts the service. If it comes early, systemd cancels the stop in favour of the start; then retry. */
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
