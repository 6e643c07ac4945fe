/** The two times of a session: until its caller's next packet, and for the whole operation. Each ends in a sentence. */

/** All in milliseconds. */
export interface Timeouts {
  /** Until the first packet must be here. */
  readonly requestMs: number;
  /** Until a notification must be answered. */
  readonly notifyMs: number;
  /** For a whole operation, its waiting for an engine included; undefined for as long as it takes. */
  readonly operationMs: number | undefined;
}

/** How long CRIU may take to roll back, before its caller is told without it. */
export const rollbackMs = 10_000;

/** How long an engine that has said its last word may take to leave. */
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

  /** For what is listened for now. */
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

  /** @param elapsedMs how long the request has taken already. */
  forOperation(elapsedMs: number): void {
    const { operationMs } = this.#timeouts;
    if (operationMs === undefined) return;
    this.endOperation();
    const reason = `it took longer than ${operationMs / 1000} s`;
    this.#operation = this.#after(Math.max(0, operationMs - elapsedMs), reason);
  }

  /** In the place of the operation's. */
  forRollback(): void {
    this.endOperation();
    this.#operation = this.#after(rollbackMs, 'CRIU did not roll back in time');
  }

  /** In the place of the operation's. */
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
