/**
 * The requests that are accepted, and when: a row for each request type of CRIU's RPC (criu_req_type of proto/rpc.proto). A type
 * without a row is refused.
 */
import { ReqType } from '../protocol/messages.ts';

/**
 * The position of a session when a packet arrives.
 * - `first`: no request came before, or the last request had keep_open;
 * - `pre-dump-loop`: a PRE_DUMP succeeded, CRIU waits for another or for the DUMP that ends the loop (pre_dump_loop in
 *   cr-service.c);
 * - `notify`: the engine waits for the answer to a notification.
 */
export type Phase = 'first' | 'pre-dump-loop' | 'notify';

export interface RequestRow {
  readonly phases: readonly Phase[];
  /** CRIU serves further requests on the same connection after this one (chk_keepopen_req in cr-service.c). */
  readonly keepOpen: boolean;
  /** The part that the request cannot do without: CRIU dereferences it unchecked, and crashes. */
  readonly needs?: 'opts' | 'features';
  /** A missing opts.pid means the caller (setup_opts_from_req in cr-service.c). */
  readonly target?: true;
  /** The request leaves processes behind that outlive the session, and live in a scope with this name. */
  readonly scope?: 'restore' | 'page-server';
  /** CRIU needs no CAP_CHECKPOINT_RESTORE for this request, so the engine of a confined caller holds none. */
  readonly noCapability?: true;
  /** The reply's type, if it differs from the request's. */
  readonly answeredAs?: number;
  /**
   * How a confined caller is served:
   * - `probe`: by an engine that gets only three booleans from the caller, so the caller may be in a sandbox;
   * - `confined`: by an engine with the caller's identity;
   * - a sentence: the request is refused, for this reason.
   */
  readonly confined: 'probe' | 'confined' | { readonly refused: string };
}

const first: readonly Phase[] = ['first'];

const needsItsParent = {
  refused:
    'an engine that has become its caller serves one request, and this needs the one that served the last',
};

export const requestTable: ReadonlyMap<number, RequestRow> = new Map<number, RequestRow>([
  [
    ReqType.DUMP,
    {
      phases: ['first', 'pre-dump-loop'],
      keepOpen: false,
      needs: 'opts',
      target: true,
      confined: 'confined',
    },
  ],
  [
    ReqType.RESTORE,
    { phases: first, keepOpen: false, needs: 'opts', scope: 'restore', confined: 'confined' },
  ],
  [ReqType.CHECK, { phases: first, keepOpen: false, confined: 'confined' }],
  [
    ReqType.PRE_DUMP,
    {
      phases: ['first', 'pre-dump-loop'],
      keepOpen: false,
      needs: 'opts',
      target: true,
      confined: 'confined',
    },
  ],
  [
    ReqType.PAGE_SERVER,
    {
      phases: first,
      keepOpen: true,
      needs: 'opts',
      scope: 'page-server',
      noCapability: true,
      confined: 'confined',
    },
  ],
  [ReqType.NOTIFY, { phases: ['notify'], keepOpen: false, confined: 'confined' }],
  [
    ReqType.CPUINFO_DUMP,
    { phases: first, keepOpen: true, needs: 'opts', noCapability: true, confined: 'confined' },
  ],
  [
    ReqType.CPUINFO_CHECK,
    { phases: first, keepOpen: true, needs: 'opts', noCapability: true, confined: 'confined' },
  ],
  [ReqType.FEATURE_CHECK, { phases: first, keepOpen: true, needs: 'features', confined: 'probe' }],
  [ReqType.VERSION, { phases: first, keepOpen: true, confined: 'probe' }],
  [ReqType.WAIT_PID, { phases: first, keepOpen: false, confined: needsItsParent }],
  [
    ReqType.PAGE_SERVER_CHLD,
    {
      phases: first,
      keepOpen: true,
      needs: 'opts',
      answeredAs: ReqType.PAGE_SERVER,
      confined: needsItsParent,
    },
  ],
  [
    ReqType.SINGLE_PRE_DUMP,
    { phases: first, keepOpen: false, needs: 'opts', target: true, confined: 'confined' },
  ],
]);
