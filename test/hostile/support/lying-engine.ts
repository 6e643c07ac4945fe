/** A service whose criu says the lines of a test (clients/lying-engine.c): a bug in CRIU could let alice say the same. */
import { chmodSync, copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeResponse } from '../../../src/protocol/codec.ts';
import type { CriuResp } from '../../../src/protocol/messages.ts';
import { binary } from '../../system/support/bench.ts';
import { Instance } from '../../system/support/instance.ts';
import { directoryOf } from './people.ts';

export type Saying =
  | 'receive'
  | 'die'
  | { readonly send: CriuResp | 'no message' }
  /** hold: a process as if it was restored, which creates the file when it runs. let-go: releases it, as CRIU does in the end. */
  | { readonly hold: string }
  | 'let-go'
  /** Later processes of its making live in another time namespace. */
  | 'leave-time'
  /** Another process, which outlives the engine. */
  | 'fork'
  /** With a TCP socket that is connected to this port of 127.0.0.1. Its last close waits until the peer reads. */
  | { readonly send: CriuResp | 'no message'; readonly lingersAt: number }
  /** wait: until the file exists. make: creates it. */
  | { readonly wait: string }
  | { readonly make: string }
  /** Its last words. */
  | { readonly stderr: string };

export class LyingEngine {
  readonly service: Instance;
  readonly #path: string;

  private constructor(service: Instance, path: string) {
    this.service = service;
    this.#path = path;
  }

  static async start(): Promise<LyingEngine> {
    // Not called criu: the tests count processes of that name that wait for root's requests as leftovers.
    const path = join(directoryOf('root'), 'liar');
    copyFileSync(binary('lying-engine'), path);
    chmodSync(path, 0o755);
    writeFileSync(`${path}.says`, 'receive\n', { mode: 0o644 });
    return new LyingEngine(await Instance.start('--criu', path), path);
  }

  /** The next engines say this. */
  says(...sayings: readonly Saying[]): void {
    const lines = sayings.map((saying) => {
      if (typeof saying === 'string') return saying;
      if ('wait' in saying) return `wait ${saying.wait}`;
      if ('hold' in saying) return `hold ${saying.hold}`;
      if ('make' in saying) return `make ${saying.make}`;
      if ('send' in saying) {
        const bytes = saying.send === 'no message' ? Buffer.from(saying.send) : encodeResponse(saying.send);
        const hex = bytes.toString('hex');
        return 'lingersAt' in saying ? `send-lingering ${saying.lingersAt} ${hex}` : `send ${hex}`;
      }
      return `stderr ${Buffer.from(saying.stderr).toString('hex')}`;
    });
    writeFileSync(`${this.#path}.says`, `${lines.join('\n')}\n`, { mode: 0o644 });
  }
}
