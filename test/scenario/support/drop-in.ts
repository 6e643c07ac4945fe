/** The drop-in criu, started as libraries start `criu swrk`. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { native } from '../../../src/native/binding.ts';
import { Client } from './client.ts';

export const dropIn = join(import.meta.dirname, '..', '..', '..', 'build', 'dist', 'bin', 'criu');

export class Swrk {
  readonly client: Client;
  readonly #child: ChildProcess;
  readonly #ended: Promise<{ status: number | null; stderr: string }>;

  /** @param inherited descriptors of the tests', which it has from 4 on. */
  constructor(
    address: string,
    {
      cwd,
      inherited = [],
      env,
    }: { cwd?: string; inherited?: readonly number[]; env?: Readonly<Record<string, string>> } = {},
  ) {
    const { ours, theirs } = native.socketpair();
    this.client = new Client(ours);
    this.#child = spawn(dropIn, ['swrk', '3'], {
      cwd,
      env: { PATH: process.env.PATH, CRIU_SERVICE: address, ...env },
      stdio: ['ignore', 'ignore', 'pipe', theirs.number, ...inherited],
    });
    theirs.close();
    const closed = new Promise<number | null>((resolve) => this.#child.once('close', resolve));
    this.#ended = Promise.all([closed, text(this.#child.stderr!)]).then(([status, stderr]) => ({
      status,
      stderr,
    }));
  }

  get pid(): number {
    return this.#child.pid!;
  }

  ended(): Promise<{ status: number | null; stderr: string }> {
    return this.#ended;
  }
}
