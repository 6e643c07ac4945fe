/**
 * The requests that are accepted, and when: a row for each request type of CRIU's RPC (criu_req_type of proto/rpc.proto). A type
 * without a row is refused.
 */
import { type CriuOpts, ReqType } from '../protocol/messages.ts';

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
  /** The target ends with the request, unless it has leave_running. */
  readonly endsTarget?: true;
  /** If the target's tree contains the caller, the engine gets the caller's own connection. */
  readonly handsOver?: true;
  /**
   * CRIU 4.1.1 opens its log in an images directory and fails without one, although the request needs none: this service lends its own
   * directory.
   */
  readonly lendsLogDirectory?: true;
  /** After a success CRIU waits for another round, or for the DUMP that ends the rounds (pre_dump_loop in cr-service.c). */
  readonly isRound?: true;
  /**
   * CRIU carries the request out in a child, so that a failing reply has no errno; and the request is idempotent.
   */
  readonly failsWithoutErrno?: true;
  /** CRIU works in a child of the engine: if that is killed, the engine tells a failure, and nobody has rolled back. */
  readonly worksInChild?: true;
  /** A success says what does not work with the installed CRIU on this kernel. */
  readonly tellsLimits?: true;
  /** CRIU tracks the target's memory, with or without track_mem. */
  readonly tracksMemory?: true;
  /**
   * The highest kernel.yama.ptrace_scope under which a user without root is served, whatever the target is
   * (Documentation/admin-guide/LSM/Yama.rst; yama.ts has what the target's consent allows).
   */
  readonly ptraceScope: 0 | 1 | 3;
  /** The options that a confined engine gets in place of its caller's. */
  readonly confinedOptions?: (opts: CriuOpts) => CriuOpts;
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

/** Scope 1 lets a process trace its descendants, which is what a restoring engine makes; scope 0 is needed to trace a target. */
const tracesTarget = 0;
const tracesDescendants = 1;
const tracesNothing = 3;

/** CRIU works in a child of the engine, which holds no capability (native/engine-preload). */
const preDump = {
  tracksMemory: true,
  noCapability: true,
  worksInChild: true,
  ptraceScope: tracesTarget,
  confined: 'confined',
  // CRIU tracks in any case, but checks that the kernel does only if it was asked to.
  confinedOptions: (opts: CriuOpts): CriuOpts => ({ ...opts, track_mem: true }),
} as const;

export const requestTable: ReadonlyMap<number, RequestRow> = new Map<number, RequestRow>([
  [
    ReqType.DUMP,
    {
      phases: ['first', 'pre-dump-loop'],
      keepOpen: false,
      needs: 'opts',
      target: true,
      endsTarget: true,
      handsOver: true,
      ptraceScope: tracesTarget,
      confined: 'confined',
    },
  ],
  [
    ReqType.RESTORE,
    {
      phases: first,
      keepOpen: false,
      needs: 'opts',
      scope: 'restore',
      ptraceScope: tracesDescendants,
      confined: 'confined',
      // The restored tree is verified at a notification, even if the caller wants none.
      confinedOptions: (opts) => ({ ...opts, notify_scripts: true }),
    },
  ],
  [
    ReqType.CHECK,
    {
      phases: first,
      keepOpen: false,
      lendsLogDirectory: true,
      failsWithoutErrno: true,
      tellsLimits: true,
      ptraceScope: tracesNothing,
      confined: 'confined',
    },
  ],
  [
    ReqType.PRE_DUMP,
    {
      phases: ['first', 'pre-dump-loop'],
      keepOpen: false,
      needs: 'opts',
      target: true,
      isRound: true,
      ...preDump,
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
      ptraceScope: tracesNothing,
      confined: 'confined',
      // CRIU itself listens on every interface. Here, the network takes an explicit address.
      confinedOptions: (opts) => ({
        ...opts,
        ps: { ...opts.ps, address: opts.ps?.address || '127.0.0.1' },
      }),
    },
  ],
  [ReqType.NOTIFY, { phases: ['notify'], keepOpen: false, ptraceScope: tracesNothing, confined: 'confined' }],
  [
    ReqType.CPUINFO_DUMP,
    {
      phases: first,
      keepOpen: true,
      needs: 'opts',
      noCapability: true,
      ptraceScope: tracesNothing,
      confined: 'confined',
    },
  ],
  [
    ReqType.CPUINFO_CHECK,
    {
      phases: first,
      keepOpen: true,
      needs: 'opts',
      noCapability: true,
      ptraceScope: tracesNothing,
      confined: 'confined',
    },
  ],
  [
    ReqType.FEATURE_CHECK,
    { phases: first, keepOpen: true, needs: 'features', ptraceScope: tracesNothing, confined: 'probe' },
  ],
  [ReqType.VERSION, { phases: first, keepOpen: true, ptraceScope: tracesNothing, confined: 'probe' }],
  [
    ReqType.WAIT_PID,
    { phases: first, keepOpen: false, ptraceScope: tracesNothing, confined: needsItsParent },
  ],
  [
    ReqType.PAGE_SERVER_CHLD,
    {
      phases: first,
      keepOpen: true,
      needs: 'opts',
      answeredAs: ReqType.PAGE_SERVER,
      ptraceScope: tracesNothing,
      confined: needsItsParent,
    },
  ],
  [
    ReqType.SINGLE_PRE_DUMP,
    {
      phases: first,
      keepOpen: false,
      needs: 'opts',
      target: true,
      ...preDump,
    },
  ],
]);
