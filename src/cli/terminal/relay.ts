/** Passes bytes and window sizes between criuctl's own terminal and that of a program. */
import { type TerminalMaster, Watch } from '../../native/binding.ts';
import { DetachKeys } from './detach-keys.ts';
import { OwnTerminal, type Size } from './own-terminal.ts';
import { Tail } from './tail.ts';

/** Bytes of output that are kept for a later terminal. */
export const mostTailBytes = 64 * 1024;

/** Keys that wait for the program; more are left in the own terminal. */
const mostWaiting = 64 * 1024;

/**
 * - `ended`: no process has the program's terminal open any more;
 * - `left`: by the keys that leave it;
 * - `hung-up`: the own terminal has gone;
 * - `stopped`: by stop().
 */
export type RelayEnd = 'ended' | 'left' | 'hung-up' | 'stopped';

export class Relay {
  readonly end: Promise<RelayEnd>;
  readonly #master: TerminalMaster;
  readonly #own: OwnTerminal;
  readonly #tail: Tail;
  readonly #keys = new DetachKeys();
  readonly #copyTo: (bytes: Uint8Array) => void;
  #waiting: Buffer = Buffer.alloc(0);
  #finish: (end: RelayEnd) => void = () => {};
  #over = false;

  /**
   * The master stays its owner's.
   * @param written what the program has written last: it is shown.
   * @param copyTo gets each output, too.
   */
  constructor(master: TerminalMaster, written?: Uint8Array, copyTo: (bytes: Uint8Array) => void = () => {}) {
    this.#master = master;
    this.#copyTo = copyTo;
    this.#tail = new Tail(mostTailBytes, written);
    this.end = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.#own = new OwnTerminal({
      keys: (typed) => this.#type(typed),
      size: (size) => this.#resize(size),
      hangUp: () => this.#stop('hung-up'),
    });
    if (written) this.#own.show(written);
    this.#resize(this.#own.size);
    this.#watch();
  }

  /** Shows lines of criuctl's own. */
  say(lines: readonly string[]): void {
    this.#own.show(Buffer.from(lines.map((line) => `${line}\r\n`).join('')));
  }

  /** What the program has written last. */
  get tail(): Uint8Array {
    return this.#tail.bytes();
  }

  /** Shows what the program has written until now, and ends. */
  stop(): void {
    while (!this.#over && this.#show());
    this.#stop('stopped');
  }

  #resize({ rows, columns }: Size): void {
    this.#master.resize(rows, columns);
  }

  #watch(): void {
    const events = Watch.readable | (this.#waiting.length > 0 ? Watch.writable : 0);
    this.#master.watch(events, (happened) => {
      if ((happened & Watch.writable) !== 0) this.#send();
      if ((happened & Watch.readable) !== 0) this.#show();
    });
  }

  /** @returns false if there is nothing more to show now. */
  #show(): boolean {
    const bytes = this.#master.read();
    if (bytes === null) this.#stop('ended');
    if (!bytes) return false;
    this.#tail.push(bytes);
    this.#copyTo(bytes);
    this.#own.show(bytes);
    return true;
  }

  #type(typed: Uint8Array): void {
    const { keys, leaves } = this.#keys.pass(typed);
    this.#waiting = Buffer.concat([this.#waiting, keys]);
    this.#send();
    if (leaves) this.#stop('left');
  }

  #send(): void {
    if (this.#over) return;
    if (this.#waiting.length === 0) return;
    while (this.#waiting.length > 0) {
      const taken = this.#master.write(this.#waiting);
      if (taken === 0) break;
      this.#waiting = this.#waiting.subarray(taken);
    }
    this.#own.hold(this.#waiting.length > mostWaiting);
    this.#watch();
  }

  #stop(end: RelayEnd): void {
    if (this.#over) return;
    this.#over = true;
    this.#master.watch(0);
    this.#own.close();
    this.#finish(end);
  }
}
