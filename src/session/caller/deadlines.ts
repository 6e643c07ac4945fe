/** The two timers of a session: for the caller's next packet, and for the whole operation. Each reports a sentence. */

/** All in milliseconds. */
export interface Timeouts {
  /** For the first packet to arrive. */
  readonly requestMs: number;
  /** For the answer to a notification. */
  readonly notifyMs: number;
  /** For a whole operation, including the wait for an engine; undefined: no limit. */
  readonly operationMs: number | undefined;
}

/** The time for CRIU to roll back. After it the caller gets a reply without CRIU. */
export const rollbackMs = 10_000;

/** The time for an engine to exit after its final reply. */
export const leavingMs = 10_000;

export class Deadlines {
  readonly #timeouts: Timeouts;
  readonly #onDeadline: (reason: string) => void;
  #packet: NodeJS.Timeout | undefined;
  #operation: NodeJS.Timeout | undefined;

  constructor(timeouts: Timeouts, onDeadline: (reason: string) => void) {
    this.#timeouts = timeouts;
    this.#onDeadline = onDeadline;
  }

  /** Starts the packet timer, or stops it for `none`. */
  forPacket(which: 'request' | 'notify' | 'none'): void {
    const { requestMs, notifyMs } = this.#timeouts;
    this.endPacket();
    if (which === 'request')
      this.#packet = this.#after(requestMs, `No request came within ${requestMs / 1000} s`);
    if (which === 'notify') {
      const reason = `no answer to a notification came within ${notifyMs / 1000} s`;
      this.#packet = this.#after(notifyMs, reason);
    }
  }

  endPacket(): void {
    clearTimeout(this.#packet);
  }

  /** @param elapsedMs the time that the request has taken already. */
  forOperation(elapsedMs: number): void {
    const { operationMs } = this.#timeouts;
    if (operationMs === undefined) return;
    this.endOperation();
    const reason = `it took longer than ${operationMs / 1000} s`;
    this.#operation = this.#after(Math.max(0, operationMs - elapsedMs), reason);
  }

  /** Replaces the operation timer. */
  forRollback(): void {
    this.endOperation();
    this.#operation = this.#after(rollbackMs, 'CRIU did not roll back in time');
  }

  /** Replaces the operation timer. */
  forLeaving(): void {
    this.endOperation();
    this.#operation = this.#after(leavingMs, 'the engine did not leave in time');
  }

  endOperation(): void {
    clearTimeout(this.#operation);
  }

  #after(ms: number, reason: string): NodeJS.Timeout {
    return setTimeout(() => this.#onDeadline(reason), ms);
  }
}
