/**
 * --daemon: Node cannot fork, so this process starts the service again and exits when the new process is ready. Until then the
 * new process's stderr is copied to ours. Afterwards it holds no descriptor of ours.
 */
import type { Readable } from 'node:stream';

/** The variable with the number of the descriptor on which the new process reports that it is ready. */
const variable = 'CRIU_SERVICE_READY_FD';

/** @returns the exit status: 0 when the service is ready, 1 when it ended before. */
export function runInBackground(environment: NodeJS.ProcessEnv): Promise<number> {
  const { spawn } = process.getBuiltinModule('node:child_process');
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      detached: true,
      env: { ...environment, [variable]: '3' },
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    });
    child.stderr?.pipe(process.stderr, { end: false });
    const ready = child.stdio[3] as Readable;
    ready.once('data', () => {
      // Release every handle of the service, so that this process can exit.
      child.stderr?.destroy();
      ready.destroy();
      child.unref();
      resolve(0);
    });
    child.once('close', () => resolve(1));
    child.once('error', () => resolve(1));
  });
}

/** The descriptor to report on, if this process is the service in the background. */
export function backgroundReadyFd(environment: NodeJS.ProcessEnv): number | undefined {
  const value = environment[variable];
  delete environment[variable];
  return value === undefined ? undefined : Number(value);
}
