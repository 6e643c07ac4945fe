/** The terminal that criuctl was started at. */
import type { ReadStream } from 'node:tty';
import { native } from '../../native/binding.ts';

const stdin = 0;

export interface Size {
  readonly rows: number;
  readonly columns: number;
}

/** True if a person can type and see what a program writes. */
export function isAtTerminal(): boolean {
  return process.stdin.isTTY === true && process.stdout.isTTY === true;
}

/**
 * Passes every key on as it is typed (raw mode), until close(), or until criuctl exits.
 */
export class OwnTerminal {
  readonly #input: ReadStream = process.stdin;
  readonly #onKeys: (typed: Uint8Array) => void;
  readonly #onSize: (size: Size) => void;
  readonly #onHangUp: () => void;
  readonly #modes: Uint8Array;

  constructor(on: { keys(typed: Uint8Array): void; size(size: Size): void; hangUp(): void }) {
    this.#onKeys = (typed) => on.keys(typed);
    this.#onSize = () => on.size(this.size);
    this.#onHangUp = () => on.hangUp();
    this.#modes = native.makeRaw(stdin);
    process.on('exit', this.#putModes);
    this.#input.on('data', this.#onKeys);
    this.#input.once('end', this.#onHangUp);
    this.#input.once('error', this.#onHangUp);
    process.on('SIGHUP', this.#onHangUp);
    process.on('SIGCONT', this.#onContinued);
    process.stdout.on('resize', this.#onSize);
    process.stdout.on('error', this.#onHangUp);
    this.#input.resume();
  }

  get size(): Size {
    return { rows: process.stdout.rows, columns: process.stdout.columns };
  }

  show(bytes: Uint8Array): void {
    process.stdout.write(bytes);
  }

  /** Holds keys back that are typed faster than the program reads. */
  hold(held: boolean): void {
    if (held) this.#input.pause();
    else this.#input.resume();
  }

  close(): void {
    this.#input.off('data', this.#onKeys);
    this.#input.off('end', this.#onHangUp);
    process.off('SIGHUP', this.#onHangUp);
    process.off('SIGCONT', this.#onContinued);
    process.stdout.off('resize', this.#onSize);
    process.off('exit', this.#putModes);
    this.#putModes();
    this.#input.pause();
  }

  readonly #putModes = (): void => {
    try {
      native.putModes(stdin, this.#modes);
    } catch {
      // The terminal has hung up.
    }
  };

  /** The shell has put its own modes back meanwhile. */
  readonly #onContinued = (): void => {
    native.makeRaw(stdin);
    this.#onSize(this.size);
  };
}
