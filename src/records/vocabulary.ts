/** The vocabulary of the journal. */
import type { AuthorizedRequest } from '../policy/authorize.ts';

/** The result of a request. */
export type Result = 'done' | 'failed' | 'refused';

/** A request that was ended before its engine had finished it. */
export interface Unfinished {
  readonly request: AuthorizedRequest;
  /** One sentence. */
  readonly reason: string;
  /** CRIU has said so: worth a record only if it is not the case. */
  readonly claims?: 'rolled back';
}

/** The tree of a request that was cut off.
 * - `running`: all threads run, neither stopped nor traced;
 * - `held`: a thread is stopped or traced;
 * - `gone`: the process has ended.
 */
export type TreeState =
  | { readonly kind: 'running' }
  | { readonly kind: 'held'; readonly thread: number; readonly how: string }
  | { readonly kind: 'gone' };
