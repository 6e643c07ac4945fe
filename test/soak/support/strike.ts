/** Kills the service at one of its system calls. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mainPid } from '../../system/support/unit.ts';

/** The calls with effects outside of the process: sendmsg(2) writes to the store, pwrite64(2) saves the state. */
const calls = 'sendmsg,recvmsg,pwrite64';

/**
 * Arms the strike for the running service. The call that is struck is not carried out.
 * @param number the number of the call, from 1.
 * @returns a function that disarms the strike, and tells whether it has struck.
 */
export async function strikeAt(number: number): Promise<() => Promise<boolean>> {
  const pid = mainPid();
  const strace = spawn(
    'strace',
    ['-p', `${pid}`, '-e', `trace=${calls}`, '-e', `inject=${calls}:signal=SIGKILL:when=${number}`],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const ended = once(strace, 'close');
  await new Promise<void>((resolve, reject) => {
    // The first output is "strace: Process PID attached".
    strace.stderr.once('data', () => resolve());
    strace.once('error', reject);
  });
  // Discard further output, so that strace does not block on a full pipe.
  strace.stderr.resume();
  return async () => {
    strace.kill('SIGINT');
    await ended;
    return mainPid() !== pid;
  };
}
