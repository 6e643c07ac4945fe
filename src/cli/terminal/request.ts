/** The restore of a tree whose terminal was outside of the tree: it gets criuctl's own, or one that a holder has. */
import type { RestoreOptions } from '../../client/options.ts';
import { native, type OwnedFd, type TerminalMaster } from '../../native/binding.ts';
import { atNewFile, type Places } from '../directories.ts';
import { exitCodes } from '../exit-codes.ts';
import { type Invocation, Obstacle, type Outcome } from '../invocation.ts';
import { converse, howToLeave } from './conversation.ts';
import { Keeping } from './keeping.ts';
import { openOutput } from './output-file.ts';
import { isAtTerminal } from './own-terminal.ts';
import { terminalsOf, type View, viewOf } from './view.ts';

/** A place for the terminal: a holder that was started before the restore, which cannot be undone. */
interface Held {
  readonly keeping: Keeping;
  readonly file?: OwnedFd | undefined;
}

export class TerminalRequest {
  readonly #view: View;
  /** Absent for criuctl's own terminal. */
  readonly #held: Held | undefined;
  #master: TerminalMaster | undefined;

  /**
   * @returns undefined if the tree needs no terminal.
   * @throws Obstacle if it cannot have one.
   */
  static async for(invocation: Invocation, places: Places): Promise<TerminalRequest | undefined> {
    const { terminal } = invocation.own;
    const terminals = terminalsOf(places.images);
    if (!terminals || terminals.outside.length === 0) return undefined;
    if (terminals.outside.length > 1) {
      throw new Obstacle(
        exitCodes.refused,
        `RESTORE refused: the program had ${terminals.outside.length} terminals, and CRIU can give it back one`,
      );
    }
    if ((terminal === undefined || terminal === 'here') && !isAtTerminal()) {
      throw new Obstacle(
        exitCodes.refused,
        'RESTORE refused: the program had a terminal, and criuctl was not started at one',
        'Restore it at a terminal, or with --terminal=none; "criuctl attach" gives it one later',
      );
    }
    const isHeld = terminal !== undefined && terminal !== 'here';
    const file = isHeld && terminal !== 'none' ? atNewFile(invocation, terminal, openOutput) : undefined;
    const view = viewOf(places, terminals);
    if (!view) {
      file?.close();
      return undefined;
    }
    try {
      const held = isHeld ? { keeping: await Keeping.begin(view.root), file } : undefined;
      return new TerminalRequest(view, held);
    } catch (error) {
      view.remove();
      file?.close();
      throw error;
    }
  }

  private constructor(view: View, held: Held | undefined) {
    this.#view = view;
    this.#held = held;
  }

  /** The terminal is criuctl's own. */
  get isOwn(): boolean {
    return this.#held === undefined;
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
      if (!restored) {
        this.#master?.close();
        this.#held?.keeping.abandon();
        this.#held?.file?.close();
      }
    }
  }

  /** Passes bytes between the terminals until the program ends or the person leaves, or gives the terminal to its holder. */
  async settle(pid: number, outcome: Outcome): Promise<Outcome> {
    const master = this.#master;
    if (!master) {
      this.#held?.keeping.abandon();
      return outcome;
    }
    if (this.#held) {
      const { keeping, file } = this.#held;
      try {
        await keeping.hold(master, new Uint8Array(), file);
      } catch (error) {
        throw new Obstacle(exitCodes.failed, `Process ${pid} was restored, but ${(error as Error).message}`);
      } finally {
        file?.close();
        master.close();
      }
      return {
        ...outcome,
        sentence: `${outcome.sentence}, without a terminal; "criuctl attach ${pid}" gives it one`,
      };
    }
    return {
      ...(await converse({
        pid,
        master,
        lines: [...(outcome.summary ?? []), `Process ${pid} runs again, at this terminal; ${howToLeave}`],
        json: outcome.json ?? {},
        keep: async (written) => {
          const keeping = await Keeping.begin(pid);
          await keeping.hold(master, written);
        },
        // As with any terminal: the program's hangs up with this one.
        hungUp: () => {},
      })),
      summary: [],
    };
  }
}
