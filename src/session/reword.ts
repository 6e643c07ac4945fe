/** Words that say why, for a failing reply of CRIU's that says little. */
import { explain, saysLittle, wordsOf } from '../engine/engine-words.ts';
import { EBADRQC } from '../native/errnos.ts';
import type { Input } from './machine/states.ts';
import type { SessionParts } from './parts.ts';

export type Final = Extract<Input, { on: 'engine-final' }>;

/** @returns a promise if the log of root's request has to be read, or the words of an engine that has yet to exit. */
export function reword(
  { engines, messages }: Pick<SessionParts, 'engines' | 'messages'>,
  input: Final,
): Final | Promise<Final> {
  const { final } = messages;
  if (!final || input.success) return input;
  const { logDirectory } = engines;
  const worded = (spoken: readonly string[], log: readonly string[]): Final => {
    const words = wordsOf(spoken);
    const better = explain(final, { ...words, log: [...log, ...words.log] }, logDirectory);
    return better ? messages.reword(better) : input;
  };
  if (!saysLittle(final)) return worded(engines.lastWords, []);
  const isWordless = final.cr_errno === EBADRQC && !final.cr_errmsg?.trim();
  const spoken = isWordless ? engines.lateWords() : engines.lastWords;
  return Promise.all([spoken, engines.logLines() ?? []]).then((words) => worded(...words));
}
