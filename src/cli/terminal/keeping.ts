/** A holder that was started for a terminal, and the way to hand the terminal over. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import type { OwnedFd, TerminalMaster } from '../../native/binding.ts';
import { exitCodes } from '../exit-codes.ts';
import { Obstacle } from '../invocation.ts';
import { ownDirectory } from './holder-address.ts';
import { holderVerb } from './holder-verb.ts';
import { HolderConnection } from './packets.ts';

export class Keeping {
  readonly #pid: number;
  readonly #connection: HolderConnection;

  /** @throws Obstacle with the holder's reason. */
  static async begin(pid: number): Promise<Keeping> {
    // Told with its advice, which a line of the holder's would lack.
    ownDirectory();
    const child = spawn(
      process.execPath,
      [...process.execArgv, process.argv[1]!, holderVerb, `${pid}`],
      // A session of its own: it gets no signal of criuctl's terminal.
      { detached: true, cwd: '/', stdio: ['ignore', 'pipe', 'ignore'] },
    );
    const line = await firstLine(child);
    child.stdout.destroy();
    child.unref();
    if (!line.startsWith('ready ')) {
      throw new Obstacle(
        exitCodes.refused,
        `no process could be started that keeps the program’s terminal: ${line === '' ? 'it ended at once' : line}`,
      );
    }
    try {
      return new Keeping(pid, HolderConnection.to(line.slice('ready '.length)));
    } catch (error) {
      throw new Obstacle(
        exitCodes.refused,
        `the process that keeps the program’s terminal has gone: ${(error as Error).message}`,
      );
    }
  }

  private constructor(pid: number, connection: HolderConnection) {
    this.#pid = pid;
    this.#connection = connection;
  }

  /**
   * The holder has the terminal afterwards, too; the caller's own descriptors stay the caller's.
   * @param written what the program has written last.
   * @throws Obstacle if the holder has gone.
   */
  async hold(master: TerminalMaster, written: Uint8Array, file?: OwnedFd): Promise<void> {
    const copy = master.copy();
    try {
      this.#connection.send({ kind: 'hold', pid: this.#pid, bytes: written }, file ? [copy, file] : [copy]);
      if ((await this.#connection.next())?.kind === 'held') return;
    } catch {
      // Told below.
    } finally {
      copy.close();
      this.#connection.close();
    }
    throw new Obstacle(exitCodes.failed, 'the process that was to keep the program’s terminal has gone');
  }

  /** The holder ends. */
  abandon(): void {
    this.#connection.close();
  }
}

function firstLine(child: ChildProcessByStdio<null, Readable, null>): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const done = (): void => resolve(text.split('\n')[0]!);
    child.stdout.setEncoding('utf8');
    child.stdout.on('data', (more: string) => {
      text += more;
      if (text.includes('\n')) done();
    });
    child.stdout.once('end', done);
    child.once('error', (error) => {
      text = error.message;
      done();
    });
  });
}
