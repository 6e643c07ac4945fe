/** After a restore: a program whose restore was in vain ends within a moment, for example at its next output. */
import { setTimeout as delay } from 'node:timers/promises';
import type { ExitStatus } from '../native/binding.ts';
import { inJson, inWords } from './ending.ts';
import { exitCodes } from './exit-codes.ts';
import type { Outcome } from './invocation.ts';
import { Running } from './running.ts';

/** A script waits for as long at each restore. */
const momentMs = 250;

/** The same outcome, or that of a tree whose root has ended since. The pidfd tells the end, also one that came before. */
export async function afterMoment(pid: number, outcome: Outcome, images: string): Promise<Outcome> {
  const status = await endWithin(pid);
  if (!status) return outcome;
  const { lostStreams, streamNames } = await import('./streams/stream-view.ts');
  const lost = lostStreams(images);
  const names = lost.map((stream) => streamNames[stream]);
  const options = lost.map((stream) => `--${['stdin', 'stdout', 'stderr'][stream]} FILE`);
  const sentence = `Process ${pid} was restored, and does not run any more: it ${inWords(status)}`;
  const reason =
    lost.length === 0
      ? []
      : [`The other end of its ${names.join(' and ')} is lost: restore it with ${options.join(' ')}`];
  return {
    ...outcome,
    sentence,
    json: {
      ...outcome.json,
      ended: true,
      ...inJson(status),
      warnings: [...(outcome.warnings ?? []), ...reason],
    },
    warnings: [...(outcome.warnings ?? []), sentence, ...reason],
    exitCode: exitCodes.ended,
  };
}

async function endWithin(pid: number): Promise<ExitStatus | undefined> {
  const running = Running.find(pid);
  if (!running) return { kind: 'unknown' };
  const patience = new AbortController();
  const moment = delay(momentMs, undefined, { signal: patience.signal }).catch(() => undefined);
  const status = await Promise.race([running.end, moment]);
  patience.abort();
  running.close();
  return status;
}
