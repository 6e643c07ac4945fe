/** In the place of src/session/trees/sweep.ts: nobody looks for what an engine has left. */
import type * as original from '../../src/session/trees/sweep.ts';

export * from '../../src/session/trees/sweep.ts';

export const endEscaped: typeof original.endEscaped = async () => {};
