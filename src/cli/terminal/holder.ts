/**
 * The process that has a program's terminal while no person does. It lends the terminal to `criuctl attach`, one at a time, and ends
 * with the program.
 */
import { rmSync } from 'node:fs';
import {
  native,
  type OwnedFd,
  type SeqpacketSocket,
  type TerminalMaster,
  Watch,
} from '../../native/binding.ts';
import { leaveAtOnce } from '../../native/leave.ts';
import { exitCodes } from '../exit-codes.ts';
import { Running } from '../running.ts';
import { ownDirectory, socketIn } from './holder-address.ts';
import { append } from './output-file.ts';
import { HolderConnection } from './packets.ts';
import { mostTailBytes } from './relay.ts';
import { Tail } from './tail.ts';

const backlog = 8;

/**
 * Listens, and tells so by a line on standard output: `ready PATH`, or the reason why it cannot.
 * @returns the exit status.
 */
export async function holdTerminal(pid: number): Promise<number> {
  // The terminal of the person who started this may go.
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGQUIT'] as const) process.on(signal, () => {});
  let path: string;
  let listener: SeqpacketSocket;
  try {
    path = socketIn(ownDirectory(), pid);
    removeStale(path);
    listener = native.listen(path, 0o600, backlog);
  } catch (error) {
    process.stdout.write(`${(error as Error).message}\n`);
    return exitCodes.failed;
  }
  process.once('SIGTERM', () => {
    rmSync(path, { force: true });
    leaveAtOnce(exitCodes.interrupted);
  });
  process.stdout.write(`ready ${path}\n`);
  try {
    const first = await accepted(listener);
    const order = await first.next();
    const [terminal, file] = order?.fds ?? [];
    if (order?.kind !== 'hold' || !terminal) return exitCodes.failed;
    const holder = new Holder(native.adoptTerminal(terminal), file, order.bytes, order.pid);
    first.send({ kind: 'held', pid, bytes: new Uint8Array() });
    first.close();
    await Promise.race([holder.end, serve(listener, holder)]);
    holder.close();
    return exitCodes.done;
  } finally {
    listener.close();
    rmSync(path, { force: true });
  }
}

/** @throws Error if another holder has a terminal for this pid. A socket that no process listens at was left by a holder that was killed. */
function removeStale(path: string): void {
  try {
    HolderConnection.to(path).close();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return;
    if (code === 'ECONNREFUSED') {
      rmSync(path, { force: true });
      return;
    }
  }
  throw new Error(`another process listens at ${path}`);
}

async function serve(listener: SeqpacketSocket, holder: Holder): Promise<never> {
  for (;;) holder.lend(await accepted(listener));
}

/** The next connection of the own user. */
function accepted(listener: SeqpacketSocket): Promise<HolderConnection> {
  return new Promise((resolve) => {
    listener.watch(Watch.readable, () => {
      const socket = listener.accept();
      if (!socket) return;
      if (socket.peerCredentials().uid !== process.geteuid!()) {
        socket.close();
        return;
      }
      listener.watch(0);
      resolve(new HolderConnection(socket));
    });
  });
}

class Holder {
  /** The program has ended, or no process has the terminal open. */
  readonly end: Promise<void>;
  readonly #master: TerminalMaster;
  readonly #file: OwnedFd | undefined;
  readonly #pid: number;
  /** Absent after its end. */
  #running: Running | undefined;
  #tail: Tail;
  #borrower: HolderConnection | undefined;
  #finish: () => void = () => {};

  constructor(master: TerminalMaster, file: OwnedFd | undefined, written: Uint8Array, pid: number) {
    this.#master = master;
    this.#file = file;
    this.#pid = pid;
    this.#tail = new Tail(mostTailBytes, written);
    this.end = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.#running = Running.find(pid);
    this.#read();
    if (this.#running) void this.#running.end.then(() => this.#programEnded());
    else this.#programEnded();
  }

  close(): void {
    this.#master.close();
    this.#file?.close();
    this.#running?.close();
  }

  lend(to: HolderConnection): void {
    try {
      if (this.#borrower) {
        to.send({ kind: 'busy', pid: this.#borrower.peer.pid, bytes: new Uint8Array() });
        to.close();
        return;
      }
      this.#master.watch(0);
      const copy = this.#master.copy();
      try {
        to.send(
          { kind: 'lend', pid: this.#pid, bytes: this.#tail.bytes() },
          this.#file ? [copy, this.#file] : [copy],
        );
      } finally {
        copy.close();
      }
    } catch {
      // It has left already.
      to.close();
      this.#read();
      return;
    }
    this.#borrower = to;
    void to.next().then((back) => {
      if (back?.kind === 'back') this.#tail = new Tail(mostTailBytes, back.bytes);
      for (const fd of back?.fds ?? []) fd.close();
      to.close();
      this.#borrower = undefined;
      if (this.#running) this.#read();
      else this.#finish();
    });
  }

  #programEnded(): void {
    this.#running = undefined;
    // A borrower shows the last output itself.
    if (this.#borrower) return;
    while (this.#take());
    this.#finish();
  }

  #read(): void {
    if (!this.#borrower) this.#master.watch(Watch.readable, () => this.#take());
  }

  /** @returns false if there is nothing more now. */
  #take(): boolean {
    const bytes = this.#master.read();
    if (bytes === null) {
      this.#master.watch(0);
      this.#finish();
    }
    if (!bytes) return false;
    this.#tail.push(bytes);
    append(this.#file, bytes);
    return true;
  }
}
