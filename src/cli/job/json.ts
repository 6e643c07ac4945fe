/** Fields of the outcomes of dumps and restores. */

/** @throws Error if the outcome lacks it, which is a fault of criuctl. */
export function pidOf(json: object | undefined): number {
  const { pid } = (json ?? {}) as { readonly pid?: unknown };
  if (typeof pid !== 'number') throw new Error('a restore has told no pid');
  return pid;
}
