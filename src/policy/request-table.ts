/**
 * What may be asked, and when. One row for each request type of CRIU's RPC (criu_req_type of proto/rpc.proto);
 * what is not listed is refused.
 */
import { ReqType } from '../protocol/messages.ts';

/**
 * Where a session is when a packet arrives.
 * - `first`: nothing was asked yet, or the last request had keep_open;
 * - `pre-dump-loop`: a PRE_DUMP succeeded, CRIU waits for another or for the DUMP that ends the loop (pre_dump_loop in cr-service.c);
 * - `notify`: the engine waits for the answer to a notification.
 */
export type Phase = 'first' | 'pre-dump-loop' | 'notify';

export interface RequestRow {
  readonly phases: readonly Phase[];
  /** CRIU serves further requests on the same connection after this one (chk_keepopen_req in cr-service.c). */
  readonly keepOpen: boolean;
  /** The request means nothing without this part of it: CRIU dereferences it unchecked, and crashes. */
  readonly needs?: 'opts' | 'features';
  /** A missing opts.pid means the caller (setup_opts_from_req in cr-service.c). */
  readonly target?: true;
  /** It leaves processes behind that outlive the session, and live in a scope named after this. */
  readonly scope?: 'restore' | 'page-server';
  /** CRIU needs no CAP_CHECKPOINT_RESTORE for it, and the engine of a confined caller holds none. */
  readonly noCapability?: true;
  /** The reply's type where it is not the request's. */
  readonly answeredAs?: number;
  /**
   * How a confined caller is served:
   * - `probe`: by an engine of ours that gets nothing of the caller's but three booleans, so that a sandbox does not matter;
   * - `confined`: by an engine that has become its caller;
   * - a sentence: not at all.
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
