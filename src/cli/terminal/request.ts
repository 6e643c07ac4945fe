/** The restore of a tree whose terminal was outside of the tree: it gets criuctl's own. */
import type { RestoreOptions } from '../../client/options.ts';
import { native, type OwnedFd, type TerminalMaster } from '../../native/binding.ts';
import type { Places } from '../directories.ts';
import { exitCodeOf, inJson, inWords } from '../ending.ts';
import { exitCodes } from '../exit-codes.ts';
import { type Invocation, Obstacle, type Outcome } from '../invocation.ts';
import { Running } from '../running.ts';
import { isAtTerminal } from './own-terminal.ts';
import { Relay } from './relay.ts';
import { terminalsOf, type View, viewOf } from './view.ts';

export class TerminalRequest {
  readonly #view: View;
  #master: TerminalMaster | undefined;

  /**
   * @returns undefined if the tree needs no terminal.
   * @throws Obstacle if it cannot have one.
   */
  static for(_: Invocation, places: Places): TerminalRequest | undefined {
    const terminals = terminalsOf(places.images);
    if (!terminals || terminals.outside.length === 0) return undefined;
    if (!isAtTerminal()) {
      throw new Obstacle(
        exitCodes.refused,
        'RESTORE refused: the program had a terminal, and criuctl was not started at one',
        'Restore it at a terminal',
      );
    }
    const view = viewOf(places, terminals);
    return view && new TerminalRequest(view);
  }

  private constructor(view: View) {
    this.#view = view;
  }

  /** Asks with the images for another terminal, and takes its master. */
  async ask<T>(request: RestoreOptions, ask: (request: RestoreOptions) => Promise<T>): Promise<T> {
    let restored = false;
    try {
      const result = await ask({
        ...request,
        imagesDir: this.#view.path,
        workDir: request.workDir ?? request.imagesDir,
        shellJob: true,
        orphanPtsMaster: true,
        notifications: {
          orphanPtsMaster: (_, master) => {
            this.#master?.close();
            this.#master = native.adoptTerminal(master as OwnedFd);
          },
        },
      });
      restored = true;
      return result;
    } finally {
      this.#view.remove();
      if (!restored) this.#master?.close();
    }
  }

  /** Passes bytes between the terminals until the program ends. */
  async stay(pid: number, outcome: Outcome): Promise<Outcome> {
    const master = this.#master;
    if (!master) return outcome;
    const running = Running.find(pid);
    // Keys that are typed when this is read are the program's.
    const relay = new Relay(master);
    relay.say([...(outcome.summary ?? []), `Process ${pid} runs again, at this terminal`]);
    void running?.end.then(() => relay.stop());
    const end = await relay.end;
    master.close();
    if (end === 'hung-up') process.exit(exitCodes.interrupted);
    const status = (await running?.end) ?? { kind: 'unknown' };
    return {
      ...outcome,
      sentence: `Process ${pid} ${inWords(status)}`,
      json: { ...outcome.json, ...inJson(status) },
      summary: [],
      exitCode: exitCodeOf(status),
    };
  }
}
