/** SIGKILL for the service in the moment of one of its system calls. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mainPid } from '../../system/support/unit.ts';

/** What others can see of a session: the store is told by sendmsg(2), the state written by pwrite64(2). */
const calls = 'sendmsg,recvmsg,pwrite64';

/**
 * Arms it for the service that runs. With the call its thread ends, and the call is not carried out.
 * @param number of the call, from 1.
 * @returns what disarms it, and tells whether it has struck.
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
    // "strace: Process PID attached" is what it says first.
    strace.stderr.once('data', () => resolve());
    strace.once('error', reject);
  });
  // What it says else is not read, and must not hold it up.
  strace.stderr.resume();
  return async () => {
    strace.kill('SIGINT');
    await ended;
    return mainPid() !== pid;
  };
}
