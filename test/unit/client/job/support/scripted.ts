/** A criuctl that acts as its test says, at the moment that it says. */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Only ends a test that hangs. */
const patienceMs = 60_000;

export class Scripted {
  readonly place = mkdtempSync(join(tmpdir(), 'scripted-criuctl-'));
  readonly path = join(this.place, 'criuctl');

  /** @param script of sh(1), in which $here is this place. Texts in answers have no apostrophe. */
  says(script: string): this {
    writeFileSync(this.path, `#!/bin/sh\nhere='${this.place}'\n${script}\n`);
    chmodSync(this.path, 0o755);
    return this;
  }

  /** An answer of criuctl's, in JSON. */
  answers(verb: string, more: object = {}, job = 'sim'): this {
    return this.says(`echo '${JSON.stringify({ verb, job, state: 'running', ...more })}'`);
  }

  /** A failure of criuctl's, in JSON. */
  fails(status: number, more: object = {}): this {
    const said = { verb: 'x', success: false, message: 'It failed', code: 'OBSTACLE', ...more };
    return this.says(`echo '${JSON.stringify(said)}' >&2; exit ${status}`);
  }

  has(name: string): boolean {
    return existsSync(join(this.place, name));
  }

  read(name: string): string {
    return readFileSync(join(this.place, name), 'utf8');
  }

  /** Lets the script go on that waits for this file. */
  make(name: string): void {
    writeFileSync(join(this.place, name), '');
  }

  /** The script has made this file. */
  async reaches(name: string): Promise<void> {
    for (const start = Date.now(); !this.has(name); await delay(10))
      if (Date.now() - start > patienceMs) throw new Error(`The script has never reached ${name}`);
  }

  remove(): void {
    rmSync(this.place, { recursive: true, force: true });
  }
}
