/** restore --wait: criuctl stays until the restored tree's root ends, as a shell does for its command. */
import { exitCodeOf, inJson, inWords } from './ending.ts';
import type { Outcome } from './invocation.ts';
import { Running } from './running.ts';

const forwarded = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const;

/** Signals to criuctl reach the program meanwhile. */
export async function untilEnd(pid: number, outcome: Outcome): Promise<Outcome> {
  const running = Running.find(pid);
  const forward = (_: string, number: number): void => {
    running?.signal(number);
  };
  for (const name of forwarded) process.on(name, forward);
  const status = (await running?.end) ?? { kind: 'unknown' as const };
  for (const name of forwarded) process.off(name, forward);
  return {
    ...outcome,
    sentence: `Process ${pid} ${inWords(status)}`,
    json: { ...outcome.json, ...inJson(status) },
    exitCode: exitCodeOf(status),
  };
}
