/** Words that say why, for a failing reply of CRIU's that says little. */
import { explain, saysLittle, wordsOf } from '../engine/engine-words.ts';
import type { Input } from './machine/states.ts';
import type { SessionParts } from './parts.ts';

export type Final = Extract<Input, { on: 'engine-final' }>;

/** @returns a promise if the log of root's request has to be read. */
export function reword(
  { engines, messages }: Pick<SessionParts, 'engines' | 'messages'>,
  input: Final,
): Final | Promise<Final> {
  const { final } = messages;
  if (!final || input.success) return input;
  const worded = (log: readonly string[]): Final => {
    const words = wordsOf(engines.lastWords);
    const better = explain(final, { ...words, log: [...log, ...words.log] }, engines.logDirectory);
    return better ? messages.reword(better) : input;
  };
  const lines = saysLittle(final) ? engines.logLines() : undefined;
  return lines ? lines.then(worded) : worded([]);
}
