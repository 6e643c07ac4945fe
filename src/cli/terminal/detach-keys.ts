/** The keys that leave a program's terminal: Ctrl-] and d, as in telnet(1). Pure. */

const prefix = 0x1d;
const leave = 'd'.charCodeAt(0);

export interface Typed {
  /** For the program. */
  readonly keys: Uint8Array;
  readonly leaves: boolean;
}

/** Finds the keys among all that is typed. Ctrl-] twice is one Ctrl-] for the program; before any other key it is itself. */
export class DetachKeys {
  #begun = false;

  /** Keys behind those that leave are dropped. */
  pass(typed: Uint8Array): Typed {
    const keys: number[] = [];
    for (const key of typed) {
      if (!this.#begun) {
        if (key === prefix) this.#begun = true;
        else keys.push(key);
        continue;
      }
      this.#begun = false;
      if (key === leave) return { keys: Uint8Array.from(keys), leaves: true };
      keys.push(...(key === prefix ? [prefix] : [prefix, key]));
    }
    return { keys: Uint8Array.from(keys), leaves: false };
  }
}
