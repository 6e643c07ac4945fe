/** Replaces src/session/trees/sweep.ts: leftovers of engines are not searched for. */
import type * as original from '../../src/session/trees/sweep.ts';

export * from '../../src/session/trees/sweep.ts';

export const endEscaped: typeof original.endEscaped = async () => {};
