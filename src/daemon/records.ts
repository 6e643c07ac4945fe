/** What the journal is told about requests: who, what, which target, how it ended. */

import type { AuthorizedRequest } from '../policy/authorize.ts';
import type { CallerIdentity } from '../policy/caller.ts';
import { type Fields, type Log, sanitize } from '../systemd/log.ts';
import type { Result, Unfinished } from './session-machine.ts';
import type { TreeState } from './unfinished.ts';

/** Totals since the service started. */
export interface Totals {
  done: number;
  failed: number;
  refused: number;
}

/** What was asked for, as far as it was understood. */
export type Asked = Pick<AuthorizedRequest, 'name' | 'target'>;

export interface Finished {
  readonly request: Asked | undefined;
  readonly result: Result;
  /** Positive errno. */
  readonly errno: number | undefined;
  readonly reason: string | undefined;
  /** The root of a restored tree. */
  readonly restoredPid: number | undefined;
  /** From the look at the packet to the final reply. */
  readonly durationUsec: number | undefined;
}

export class Records {
  readonly totals: Totals = { done: 0, failed: 0, refused: 0 };
  readonly #log: Log;
  readonly #onChange: () => void;

  /** @param onChange called whenever the totals have changed. */
  constructor(log: Log, onChange: () => void) {
    this.#log = log;
    this.#onChange = onChange;
  }

  accepted(session: number, caller: CallerIdentity | undefined, request: AuthorizedRequest): void {
    this.#log.debug(`${describe(caller, request)} accepted`, fields(session, caller, request));
  }

  /** This service has started anew, and goes on where the one before was. */
  resumed(session: number, caller: CallerIdentity | undefined, request: Asked | undefined): void {
    this.#log.info(`${describe(caller, request)} goes on after a restart`, fields(session, caller, request));
  }

  finished(session: number, caller: CallerIdentity | undefined, end: Finished): void {
    this.totals[end.result] += 1;
    const took = end.durationUsec === undefined ? '' : ` in ${(end.durationUsec / 1000).toFixed(1)} ms`;
    const why = end.reason === undefined ? '' : `: ${sanitize(end.reason)}`;
    const restored = end.restoredPid === undefined ? '' : `, process ${end.restoredPid}`;
    const message = `${describe(caller, end.request)} ${end.result}${restored}${took}${why}`;
    const all: Fields = {
      ...fields(session, caller, end.request),
      CRIU_RESULT: end.result,
      ...(end.errno === undefined ? {} : { CRIU_ERRNO: end.errno }),
      ...(end.restoredPid === undefined ? {} : { CRIU_RESTORED_PID: end.restoredPid }),
      ...(end.durationUsec === undefined ? {} : { CRIU_DURATION_USEC: end.durationUsec }),
    };
    if (end.result === 'done') this.#log.info(message, all);
    else this.#log.warning(message, all);
    this.#onChange();
  }

  /** A connection that never became a session. @param who for whom it counts, as a person would say it. */
  turnedAway(who: string, errno: number, reason: string): void {
    this.totals.refused += 1;
    this.#log.warning(`A connection of ${who} refused: ${reason}`, {
      CRIU_RESULT: 'refused',
      CRIU_ERRNO: errno,
    });
    this.#onChange();
  }

  /** How the tree of an operation that was cut off is, now that its engine has gone. */
  leftBehind(
    session: number,
    caller: CallerIdentity | undefined,
    { request, reason }: Unfinished,
    tree: TreeState,
  ): void {
    const target = `the tree of process ${request.target}`;
    const why = sanitize(reason);
    const all = fields(session, caller, request);
    switch (tree.kind) {
      case 'running':
        this.#log.info(`${request.name} was cut off, and ${target} runs on (${why})`, all);
        break;
      case 'gone':
        this.#log.warning(`${request.name} was cut off, and ${target} is gone (${why})`, all);
        break;
      case 'held':
        this.#log.error(
          `${request.name} was cut off, and ${target} does not run: thread ${tree.thread} ${tree.how} (${why})`,
          all,
        );
    }
  }

  /** Something that no request should be able to bring about. */
  unexpected(session: number, error: unknown): void {
    this.#log.error(`Session ${session}: ${sanitize((error as Error).message)}`, { CRIU_SESSION: session });
  }
}

function describe(caller: CallerIdentity | undefined, request: Asked | undefined): string {
  const who = caller ? `pid ${caller.pid} (uid ${caller.uid})` : 'an unknown caller';
  if (!request) return `Request of ${who}`;
  const target = request.target === undefined ? '' : ` of process ${request.target}`;
  return `${request.name}${target} for ${who}`;
}

function fields(session: number, caller: CallerIdentity | undefined, request: Asked | undefined): Fields {
  return {
    CRIU_SESSION: session,
    ...(caller ? { CRIU_CALLER_PID: caller.pid, CRIU_CALLER_UID: caller.uid } : {}),
    ...(request ? { CRIU_REQUEST: request.name } : {}),
    ...(request?.target === undefined ? {} : { CRIU_TARGET_PID: request.target }),
  };
}
