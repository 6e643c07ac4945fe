/** The end of a job's command, as criu-job-root leaves it in a file. Pure. */

export type End =
  | { readonly kind: 'exited'; readonly code: number }
  | { readonly kind: 'signalled'; readonly signal: number };

/** @returns undefined for any other text. */
export function parseEnd(text: string): End | undefined {
  const [, how, number] = /^(exited|killed) (\d{1,3})\n$/.exec(text) ?? [];
  if (how === undefined) return undefined;
  const value = Number(number);
  return how === 'exited' ? { kind: 'exited', code: value } : { kind: 'signalled', signal: value };
}
