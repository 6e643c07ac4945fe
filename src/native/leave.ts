/**
 * The end of a program. Node's own end, also that of process.exit(), waits for its other threads without a bound: for a read of a file
 * system that never answers, and for V8's compiler, which may wait for the main thread (nodejs/node#54918).
 */
import { setImmediate } from 'node:timers/promises';
import { native } from './binding.ts';

/** Handlers of `exit` run, then _exit(2). A pipe may lack the last of the output. */
export function leaveAtOnce(status: number): never {
  process.emit('exit', status);
  return native.exit(status);
}

/** Ends the process when the readers of its output have it all. What is due by now has its turn, and may fail. */
export async function leave(status: number): Promise<never> {
  process.exitCode = status;
  await setImmediate();
  if (isWriting()) await Promise.all([process.stdout, process.stderr].map(written));
  return leaveAtOnce(status);
}

function isWriting(): boolean {
  return process.getActiveResourcesInfo().some((name) => name.endsWith('WriteWrap'));
}

function written(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    stream.write('', () => resolve());
  });
}
