/** The alphabet of the session machine: states, inputs, actions. */

import type { AuthorizedRequest, Decision, RelayPlan } from '../../policy/authorize.ts';
import type { Result, Unfinished } from '../../records/vocabulary.ts';
import type { EngineFor } from '../caller/known-caller.ts';

export type State =
  /** The session waits for a packet of the caller. `engine`: the engine of the previous request waits for another request. */
  | { readonly at: 'idle'; readonly phase: RequestPhase; readonly engine: boolean }
  /** A packet is being judged. That takes as long as reading its caller and its target in /proc. */
  | {
      readonly at: 'judging';
      readonly phase: RequestPhase;
      readonly engine: boolean;
      readonly packet: PacketPlace;
      /** The request, if a first try has failed, and another may succeed (again.ts). */
      readonly again?: AuthorizedRequest;
    }
  /**
   * The request waits for its engine: for a turn in the queue, for a launcher, for a scope, or for systemd's store to hold the
   * engine's descriptors.
   */
  | { readonly at: 'starting'; readonly request: AuthorizedRequest; readonly packet: PacketPlace }
  /** The request was sent to the engine. The engine has not spoken since. */
  | {
      readonly at: 'offered';
      readonly request: AuthorizedRequest;
      readonly packet: PacketPlace;
      /** `an-earlier-start`: the service was killed while it sent the request, so that the engine may not have it. */
      readonly by: 'this-start' | 'an-earlier-start';
    }
  /** The engine works on the request. */
  | { readonly at: 'working'; readonly request: AuthorizedRequest }
  /** A confined engine restores: the tree must be verified before it runs. */
  | { readonly at: 'restoring'; readonly request: AuthorizedRequest }
  /** The engine waits at pre-resume while the tree is frozen and verified. */
  | { readonly at: 'verifying'; readonly request: AuthorizedRequest }
  /** The tree is verified, and stays frozen while its engine finishes. */
  | { readonly at: 'resuming'; readonly request: AuthorizedRequest }
  /**
   * The engine has sent its final reply for a verified tree. The tree stays frozen until the engine has gone, so that no
   * instruction of the tree runs beside a process with the engine's capability. `reply`: the engine's final reply, in base64.
   */
  | { readonly at: 'leaving'; readonly request: AuthorizedRequest; readonly reply: string }
  /** The engine has gone. The tree is verified a second time, then thawed. */
  | { readonly at: 'letting-run'; readonly request: AuthorizedRequest; readonly reply: string }
  /** The tree runs, and the caller has been sent `post-resume`. */
  | { readonly at: 'resumed'; readonly request: AuthorizedRequest; readonly reply: string }
  /** The engine waits for the caller's answer to a notification. `back`: the state that the answer leads to. */
  | { readonly at: 'notifying'; readonly request: AuthorizedRequest; readonly back: AtWork }
  /** The engine was sent an end of file, which makes CRIU roll back. Its final reply is outstanding. */
  | { readonly at: 'rolling-back'; readonly request: AuthorizedRequest; readonly because: RollbackCause }
  /** The engine owns the caller's connection. */
  | { readonly at: 'handed-over'; readonly request: AuthorizedRequest }
  /** The last reply is out; the engine has yet to exit. `after`: an unfinished request, whose tree is examined after the exit. */
  | { readonly at: 'draining'; readonly after?: Unfinished }
  /** Final state. */
  | { readonly at: 'over' };

/** The kind of request that may come next: the first, another after keep_open, the next round of a pre-dump loop. */
export type RequestPhase = 'first' | 'next' | 'pre-dump-loop';

/** The place of a request's bytes: `queued`, unread in its caller's queue; `ours`, taken from there and kept by the service. */
export type PacketPlace = 'queued' | 'ours';

/** States in which the engine works on the request, without waiting for an answer. */
export type AtWork = 'working' | 'restoring' | 'resuming';

/** `cut-off`: the request took too long; `reason` is a sentence. */
export type RollbackCause =
  | { readonly is: 'caller-left' }
  | { readonly is: 'cut-off'; readonly reason: string };

/** The end of an engine, as far as it is known. */
export interface EngineEnd {
  /**
   * - `success`, `failure`: the engine exited by itself, with status 0 or another; all its messages were read before;
   * - `lost`: a signal ended the engine, or the cause of its end is unknown.
   */
  readonly how: 'success' | 'failure' | 'lost';
  /** One sentence, with the engine's last error line if there is one. */
  readonly reason: string;
}

/** A pid that a failed restore needs, and that this service itself holds, or that is free by now. */
export interface OwnPid {
  readonly pid: number;
  readonly holder: 'thread' | 'engine' | 'gone';
  /** The service may give it up now for this user. */
  readonly givesWay: boolean;
}

/** A decision about a packet, with the engine that an authorized request gets. */
export type Decided =
  | Extract<Decision, { kind: 'answer' | 'refuse' }>
  | (Extract<Decision, { kind: 'relay' | 'hand-over' }> & { readonly engine: EngineFor });

export type Input =
  /** A packet waits unread; judging it begins, and takes its time. */
  | { readonly on: 'packet' }
  /** The packet was judged. */
  | { readonly on: 'decided'; readonly decision: Decided }
  /** The packet that waits unread is no request: for example, it does not parse, or is too large. */
  | { readonly on: 'malformed'; readonly errno: number; readonly reason: string }
  /** The engine sent a notification. `script`: its name, for example `pre-resume`. */
  | { readonly on: 'engine-notify'; readonly script: string }
  /** After `verify`: the tree may run. */
  | { readonly on: 'verified' }
  /** After `verify` or `let-run`: the tree must not run. The reason begins with a verb. */
  | { readonly on: 'unverified'; readonly reason: string }
  /** The engine sent its final reply. `errno`: cr_errno, or 0 without one. `reply`: the bytes that the caller would get. */
  | {
      readonly on: 'engine-final';
      readonly success: boolean;
      readonly errno: number;
      readonly reply: Uint8Array;
      readonly ownPid?: OwnPid;
    }
  /** After `let-run`: the tree runs, without its engine. */
  | { readonly on: 'let-run' }
  /** The engine closed its end of the connection. Its process may still run (exec_cmd). */
  | { readonly on: 'engine-hangup' }
  /** The engine's process has exited. */
  | { readonly on: 'engine-end'; readonly end: EngineEnd }
  /** After `start-engine` or `restart-engine`: the engine waits for its request, and the next start of the service knows it. */
  | { readonly on: 'engine-ready' }
  /** After `start-engine`: a stored answer makes an engine unnecessary. `success`: that of the answer. */
  | { readonly on: 'answered'; readonly success: boolean }
  /** The engine has not read its request, and will not: nothing was done, so another engine can take the request. */
  | { readonly on: 'unread' }
  /** After `start-engine`, `restart-engine` or `hand-over`: the start failed, and no engine has the request. */
  | {
      readonly on: 'not-started';
      readonly errno: number;
      readonly reason: string;
      readonly engineRemains: boolean;
      /** The target does not let its engine trace it. */
      readonly isRefused?: true;
    }
  /** The caller has closed the connection, or its sending half. */
  | { readonly on: 'caller-end' }
  /** A time ran out: that of a packet, an answer, the operation, its rollback, or the engine's leaving. */
  | { readonly on: 'deadline'; readonly reason: string }
  /** The service is stopping, and begins no more requests. */
  | { readonly on: 'stopping'; readonly reason: string };

export type Action =
  /** Begin the request: note it for the record, and start its operation timer. */
  | { readonly do: 'begin'; readonly request: AuthorizedRequest }
  /** Give the session to systemd's store: from here on, the next start of the service goes on with it. */
  | { readonly do: 'keep' }
  /** Save this state before the next action (write-ahead). The state after each step is saved without it. */
  | { readonly do: 'save'; readonly state: State }
  /** Remove the session from systemd's store: the next start will not know it. */
  | { readonly do: 'forget' }
  /** Make this pid of the service's own free, then judge the stored copy of the request again. The reason is a sentence's end. */
  | { readonly do: 'give-way'; readonly pid: number; readonly reason: string }
  /** Judge the stored copy of the request again. */
  | { readonly do: 'judge-again' }
  /**
   * Get an engine for the request: a new engine if `fresh`, otherwise the one that waits. The input `engine-ready`, `answered` or
   * `not-started` follows.
   */
  | {
      readonly do: 'start-engine';
      readonly request: AuthorizedRequest;
      readonly plan: RelayPlan;
      readonly engine: EngineFor;
      readonly fresh: boolean;
    }
  /** Replace an engine that has not read the request; the new engine keeps its turn. `engine-ready` or `not-started` follows. */
  | { readonly do: 'restart-engine'; readonly request: AuthorizedRequest }
  /** Dismiss an engine that has done nothing. From then on the session ignores it. */
  | { readonly do: 'abandon-engine' }
  /** Send the request to the engine. */
  | { readonly do: 'send' }
  /** Leave the packet unread and start an engine on the caller's connection. */
  | { readonly do: 'hand-over'; readonly request: AuthorizedRequest; readonly engine: EngineFor }
  /** Consume the packet and pass it to the engine: the answer to its notification. */
  | { readonly do: 'answer' }
  /** Consume the packet and tell the engine that its notification failed. */
  | { readonly do: 'answer-failure' }
  /** Answer the engine's notification with success, without asking the caller. */
  | { readonly do: 'acknowledge' }
  /** Freeze and verify the restored tree; the input `verified` or `unverified` follows. */
  | { readonly do: 'verify' }
  /** Replace the operation timer by the deadline for the engine to exit. */
  | { readonly do: 'await-leaving' }
  /** Kill the engine. Nothing is left for it to undo. */
  | { readonly do: 'kill-engine' }
  /** Verify the frozen tree again, then thaw it; the input `let-run` or `unverified` follows. */
  | { readonly do: 'let-run' }
  /** Send the caller the notification `post-resume` in the engine's place. */
  | { readonly do: 'notify-resumed' }
  /** Send the caller the engine's final reply, which `leaving` kept back. */
  | { readonly do: 'send-reply'; readonly reply: string }
  /** Kill the engine and every process in its cgroup: a tree that must not run. */
  | { readonly do: 'kill-tree' }
  /** Consume the packet and drop it. */
  | { readonly do: 'discard' }
  /** Consume the packet of an earlier start, if it is still at the head of the queue, and drop it. */
  | { readonly do: 'discard-unread' }
  /** The engine has the caller's connection: keep a copy for a reply, and read nothing more from it. */
  | { readonly do: 'give-connection' }
  /**
   * Forward the engine's message to the caller. `hint` is added to the sentence of a failing reply; `warning` is the sentence of a
   * successful one.
   */
  | { readonly do: 'forward'; readonly hint?: string; readonly warning?: string }
  /** Send the caller a failing reply of the service's own. */
  | { readonly do: 'reply'; readonly type: number; readonly errno: number; readonly reason: string }
  /**
   * Watch for a packet of the caller. `request` and `notify` set a deadline for it. `none` sets none: a caller may take any time
   * between two requests of a connection, for example between two rounds of a pre-dump loop.
   */
  | { readonly do: 'listen'; readonly deadline: 'request' | 'notify' | 'none' }
  /** Stop watching for packets; watch for the end of the connection only. Clears the deadline of a packet. */
  | { readonly do: 'stop-listening' }
  /** Shut our sending half: where the engine waits, it reads an end of file, rolls back and exits. The engine is not killed. */
  | { readonly do: 'dismiss-engine' }
  /** Replace the operation timer by the deadline for CRIU to roll back. */
  | { readonly do: 'await-rollback' }
  /** The engine has gone: record whether the tree of its request runs. */
  | { readonly do: 'check-tree'; readonly left: Unfinished }
  /** Close the caller's connection when its last message is out. */
  | { readonly do: 'close-caller' }
  /** Record an input that cannot happen in this state. */
  | { readonly do: 'record-unexpected'; readonly at: State['at']; readonly on: Input['on'] }
  /** Write the final record of the request, and end its operation timer. */
  | { readonly do: 'record'; readonly result: Result; readonly errno?: number; readonly reason?: string };

export interface Step {
  readonly state: State;
  readonly actions: readonly Action[];
}
