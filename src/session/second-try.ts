/** The second try of a restore that has met a pid of this service's own (machine/again.ts). */
import { needsTakenPid, takenPidIn } from '../policy/taken-pid.ts';
import type { UserKey } from '../proc/connection-user.ts';
import type { Action, OwnPid } from './machine/states.ts';
import type { SessionParts } from './parts.ts';
import type { Final } from './reword.ts';

export class SecondTry {
  readonly #parts: SessionParts;
  readonly #user: UserKey;

  constructor(parts: SessionParts, user: UserKey) {
    this.#parts = parts;
    this.#user = user;
  }

  /**
   * Adds the pid of this service's own that the restore has met.
   * @returns a promise if the log of root's request has to be read: CRIU's message does not name the pid if another error came first.
   */
  complete(input: Final): Final | Promise<Final> {
    const { final } = this.#parts.messages;
    if (!final || !needsTakenPid(final)) return input;
    const pid = takenPidIn(final.cr_errmsg ?? '');
    if (pid !== undefined) return this.#with(input, pid);
    const lines = this.#parts.engines.logLines();
    return lines ? lines.then((read) => this.#with(input, takenPidIn(...read))) : input;
  }

  /** Makes the pid free, then has the request judged again, unless it has ended meanwhile. */
  giveWay({ pid, reason }: Extract<Action, { do: 'give-way' }>, judgeAgain: () => void): void {
    const { context, records, state } = this.#parts;
    const judging = state();
    records.triedAgain(reason);
    context.ownPids
      .giveWay(pid)
      .catch((error) => records.unexpected(error))
      .then(() => {
        if (state() === judging) judgeAgain();
      });
  }

  #with(input: Final, pid: number | undefined): Final {
    const { ownPids } = this.#parts.context;
    const holder = pid === undefined ? undefined : ownPids.holderOf(pid);
    if (pid === undefined || !holder) return input;
    const state = this.#parts.state();
    const isSecondTry = 'request' in state && state.request.isSecondTry === true;
    const ownPid: OwnPid = { pid, holder, givesWay: !isSecondTry && ownPids.mayGiveWay(this.#user) };
    return { ...input, ownPid };
  }
}
