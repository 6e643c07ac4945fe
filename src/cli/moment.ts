/** After a restore: a program whose restore was in vain ends within a moment, for example at its next output. */
import { setTimeout as delay } from 'node:timers/promises';
import type { ExitStatus } from '../native/binding.ts';
import { inJson, inWords } from './ending.ts';
import { exitCodes } from './exit-codes.ts';
import type { Outcome } from './invocation.ts';
import { Running } from './running.ts';

/** A script waits for as long at each restore. */
const momentMs = 250;

/** A program with a lost stream ends at its next use of it, if it ever uses it. */
const lostMs = 1500;

/** The same outcome, or that of a tree whose root has ended since. The pidfd tells the end, also one that came before. */
export async function afterMoment(pid: number, outcome: Outcome, images: string): Promise<Outcome> {
  const running = Running.find(pid);
  const early = running ? await endWithin(running, momentMs) : unknown;
  const { lostStreams, streamNames } = await import('./streams/stream-view.ts');
  const lost = lostStreams(images);
  const status = early ?? (lost.length === 0 ? undefined : await endWithin(running!, lostMs));
  running?.close();
  if (!status) return outcome;
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

const unknown: ExitStatus = { kind: 'unknown' };

async function endWithin(running: Running, ms: number): Promise<ExitStatus | undefined> {
  const patience = new AbortController();
  const over = delay(ms, false, { signal: patience.signal }).catch(() => false);
  const hasEnded = await Promise.race([running.ended.then(() => true), over]);
  patience.abort();
  // Its status comes when its parent has reaped it.
  return hasEnded ? running.end : undefined;
}
