/** In the place of src/daemon/sweep.ts: nobody looks for what an engine has left. */
import type * as original from '../../src/daemon/sweep.ts';

export * from '../../src/daemon/sweep.ts';

export const endEscaped: typeof original.endEscaped = async () => {};
