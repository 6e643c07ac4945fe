/** The words of the session machine: its states, its inputs, its actions. */

import type { AuthorizedRequest, Decision, RelayPlan } from '../../policy/authorize.ts';
import type { Result, Unfinished } from '../../records/vocabulary.ts';

export type State =
  /** Waits for a packet of the caller. `engine`: one from the request before waits, too. */
  | { readonly at: 'idle'; readonly phase: RequestPhase; readonly engine: boolean }
  /** A packet is judged, which takes as long as its caller and its target take to be read. */
  | {
      readonly at: 'judging';
      readonly phase: RequestPhase;
      readonly engine: boolean;
      readonly packet: PacketPlace;
    }
  /** An engine for the request is on its way: in the queue, in a launcher, being moved to a scope, being kept. */
  | { readonly at: 'starting'; readonly request: AuthorizedRequest; readonly packet: PacketPlace }
  /** The engine was given the request, and has said nothing since. */
  | {
      readonly at: 'offered';
      readonly request: AuthorizedRequest;
      readonly packet: PacketPlace;
      /** `an-earlier-start`: of this service, which was killed then, so that the engine may never have got it. */
      readonly by: 'this-start' | 'an-earlier-start';
    }
  /** The engine works on the request. */
  | { readonly at: 'working'; readonly request: AuthorizedRequest }
  /** A confined engine restores: the tree must be verified before it runs. */
  | { readonly at: 'restoring'; readonly request: AuthorizedRequest }
  /** The engine waits at pre-resume, and the tree that it restored is looked at. */
  | { readonly at: 'verifying'; readonly request: AuthorizedRequest }
  /** The tree was verified, and stays frozen while its engine finishes. */
  | { readonly at: 'resuming'; readonly request: AuthorizedRequest }
  /**
   * The engine has restored a tree that may run, and said so. The tree stays frozen until the engine has gone: no instruction of it
   * runs beside a process with the engine's capability. `reply`: the engine's, in base64.
   */
  | { readonly at: 'leaving'; readonly request: AuthorizedRequest; readonly reply: string }
  /** The engine has gone, and the tree is looked at once more and let run. */
  | { readonly at: 'letting-run'; readonly request: AuthorizedRequest; readonly reply: string }
  /** The tree runs, and its caller was told so by `post-resume`. */
  | { readonly at: 'resumed'; readonly request: AuthorizedRequest; readonly reply: string }
  /** The engine waits for the caller's answer to a notification. `back`: the state that the answer leads to. */
  | { readonly at: 'notifying'; readonly request: AuthorizedRequest; readonly back: AtWork }
  /** The engine was told to roll back, by an end of file, and has yet to say how that went. */
  | { readonly at: 'rolling-back'; readonly request: AuthorizedRequest; readonly because: RollbackCause }
  /** The engine owns the caller's connection. */
  | { readonly at: 'handed-over'; readonly request: AuthorizedRequest }
  /** The last reply is out, the engine has yet to leave. `after`: its work was not finished, and is looked at then. */
  | { readonly at: 'draining'; readonly after?: Unfinished }
  | { readonly at: 'over' };

/** What may come next: a first request, one after keep_open, the next round of a pre-dump loop. */
export type RequestPhase = 'first' | 'next' | 'pre-dump-loop';

/** Where the bytes of a request are: `queued`, unread in the queue of its caller; `ours`, taken from there, and kept by us. */
export type PacketPlace = 'queued' | 'ours';

/** States in which the engine has the request and waits for nobody. */
export type AtWork = 'working' | 'restoring' | 'resuming';

/** `cut-off`: it took too long; the reason is a sentence. */
export type RollbackCause =
  | { readonly is: 'caller-left' }
  | { readonly is: 'cut-off'; readonly reason: string };

/** How an engine ended, as far as it is known. */
export interface EngineEnd {
  /**
   * - `success`, `failure`: it left by itself with exit status 0, or another; whatever it had to say, it said;
   * - `lost`: a signal ended it, or nobody knows what did.
   */
  readonly how: 'success' | 'failure' | 'lost';
  /** One sentence, with its last error line where there is one. */
  readonly reason: string;
}

export type Input =
  /** A packet waits unread, and is being judged. */
  | { readonly on: 'packet' }
  /** This was decided about the packet. */
  | { readonly on: 'decided'; readonly decision: Decision }
  /** A packet waits unread that is no request: it does not parse, or is too large. */
  | { readonly on: 'malformed'; readonly errno: number; readonly reason: string }
  /** `script` is the notification's name, for example `pre-resume`. */
  | { readonly on: 'engine-notify'; readonly script: string }
  | { readonly on: 'verified' }
  /** What was restored must not run; the reason begins with a verb. */
  | { readonly on: 'unverified'; readonly reason: string }
  /** `errno`: cr_errno, 0 for none. `reply`: its bytes, as they are passed on. */
  | {
      readonly on: 'engine-final';
      readonly success: boolean;
      readonly errno: number;
      readonly reply: Uint8Array;
    }
  /** What was verified runs; the engine had gone before. */
  | { readonly on: 'let-run' }
  /** The engine closed its end of the connection, but may still run (exec_cmd). */
  | { readonly on: 'engine-hangup' }
  | { readonly on: 'engine-end'; readonly end: EngineEnd }
  /** The engine of a `start-engine` or `restart-engine` waits for its request, and the next start of this service knows it. */
  | { readonly on: 'engine-ready' }
  /** No engine is needed: the answer is known. `success`: what it says. */
  | { readonly on: 'answered'; readonly success: boolean }
  /** The engine has not read its request, and will not: it has done nothing about it. */
  | { readonly on: 'unread' }
  /** The last `start-engine`, `restart-engine` or `hand-over` could not be carried out; no engine has the request. */
  | {
      readonly on: 'not-started';
      readonly errno: number;
      readonly reason: string;
      readonly engineRemains: boolean;
    }
  /** The caller has closed the connection, or its sending half of it. */
  | { readonly on: 'caller-end' }
  /** What is waited for took too long: a packet, an answer, the operation, its rolling back. */
  | { readonly on: 'deadline'; readonly reason: string }
  /** This service stops, and begins nothing any more. */
  | { readonly on: 'stopping'; readonly reason: string };

export type Action =
  /** Work on the request begins: its time counts from here. */
  | { readonly do: 'begin'; readonly request: AuthorizedRequest }
  /** From here on the next start of this service goes on with the session. */
  | { readonly do: 'keep' }
  /** Write the state down before the next action, for the next start of this service. Each step ends with that by itself. */
  | { readonly do: 'save'; readonly state: State }
  /** The session is none of the next start's. */
  | { readonly do: 'forget' }
  /** Judge the packet that is ours, once more. */
  | { readonly do: 'judge-again' }
  /** Have an engine for the request: start one where `fresh`. The input `engine-ready`, `answered` or `not-started` follows. */
  | {
      readonly do: 'start-engine';
      readonly request: AuthorizedRequest;
      readonly plan: RelayPlan;
      readonly fresh: boolean;
    }
  /** Another engine in the place and the turn of one that has not read the request. */
  | { readonly do: 'restart-engine'; readonly request: AuthorizedRequest }
  /** Let go of an engine that has done nothing. */
  | { readonly do: 'abandon-engine' }
  /** Give the engine its request. */
  | { readonly do: 'send' }
  /** Leave the packet unread and start an engine on the caller's connection. */
  | { readonly do: 'hand-over'; readonly request: AuthorizedRequest }
  /** Consume the packet and pass it to the engine: the answer to its notification. */
  | { readonly do: 'answer' }
  /** Consume the packet and tell the engine that its notification failed. */
  | { readonly do: 'answer-failure' }
  /** Tell the engine that its notification succeeded, on our own. */
  | { readonly do: 'acknowledge' }
  /** Look at what was restored; the input `verified` or `unverified` follows. */
  | { readonly do: 'verify' }
  /** Once more a deadline: for the engine to leave. */
  | { readonly do: 'await-leaving' }
  /** End the engine, which has nothing left to undo. */
  | { readonly do: 'kill-engine' }
  /** Look at the frozen tree once more, and let it run; the input `let-run` or `unverified` follows. */
  | { readonly do: 'let-run' }
  /** Tell the caller what the engine would have told it: the tree runs. */
  | { readonly do: 'notify-resumed' }
  /** The engine's reply, which was kept back. */
  | { readonly do: 'send-reply'; readonly reply: string }
  /** End everything in the engine's cgroup, itself included: it holds what must not run. */
  | { readonly do: 'kill-tree' }
  /** Consume the packet without using it. */
  | { readonly do: 'discard' }
  /** Pass the engine's message on; what `hint` says is added to the sentence of a failing reply. */
  | { readonly do: 'forward'; readonly hint?: string }
  /** A reply of our own. */
  | { readonly do: 'reply'; readonly type: number; readonly errno: number; readonly reason: string }
  /**
   * Watch for a packet of the caller. The first has a deadline, and an answer to a notification: how long a caller takes between
   * two rounds of a pre-dump loop is its own affair.
   */
  | { readonly do: 'listen'; readonly deadline: 'request' | 'notify' | 'none' }
  /** Watch for nothing but its end. */
  | { readonly do: 'stop-listening' }
  /** Let the engine read an end of file where it waits: it rolls back and leaves. It is never killed. */
  | { readonly do: 'dismiss-engine' }
  /** Once more a deadline: for CRIU to roll back. */
  | { readonly do: 'await-rollback' }
  /** The engine has gone: is the tree of its request as it was? Said in the journal. */
  | { readonly do: 'check-tree'; readonly left: Unfinished }
  | { readonly do: 'close-caller' }
  /** An input that cannot happen in this state has happened. */
  | { readonly do: 'record-unexpected'; readonly at: State['at']; readonly on: Input['on'] }
  | { readonly do: 'record'; readonly result: Result; readonly errno?: number; readonly reason?: string };

export interface Step {
  readonly state: State;
  readonly actions: readonly Action[];
}
