/** The words of the journal. */
import type { AuthorizedRequest } from '../policy/authorize.ts';

/** How a request ended, in the words of the journal. */
export type Result = 'done' | 'failed' | 'refused';

/** A request that ended otherwise than by its engine's own decision. */
export interface Unfinished {
  readonly request: AuthorizedRequest;
  /** One sentence. */
  readonly reason: string;
}

/** The tree of a request that was cut off.
 * - `running`: no thread is stopped or traced;
 * - `held`: some are;
 * - `gone`: there is no such process any more.
 */
export type TreeState =
  | { readonly kind: 'running' }
  | { readonly kind: 'held'; readonly thread: number; readonly how: string }
  | { readonly kind: 'gone' };
