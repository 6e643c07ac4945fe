/**
 * The processes of one launcher. The service starts the first in its own cgroup, because it waits until a child of its is executed,
 * and in the caller's cgroup that could take as long as the caller likes (frozen, without time on any processor). If the launcher is
 * to work in another cgroup, the first starts a second in there and exits (native/launcher/birth.cc); the second becomes the engine.
 */
import { constants as os } from 'node:os';
import { native, type OwnedFd, type Process, type SeqpacketSocket } from '../native/binding.ts';
import type { EngineCgroup } from './engine-cgroup.ts';
import { decodeAnswer, maxAnswerBytes } from './launcher-protocol.ts';

export class Launcher {
  readonly #first: Process;
  readonly #hasSecond: boolean;
  #second: Process | undefined;
  /** Resolves when the first process has exited. */
  #firstGone: Promise<void> | undefined;

  /** Takes over the process. @param hasSecond another process goes on in the engine's cgroup. */
  constructor(first: Process, hasSecond: boolean) {
    this.#first = first;
    this.#hasSecond = hasSecond;
  }

  /** The pid of the process that was started. */
  get pid(): number {
    return this.#first.pid;
  }

  /** The process that becomes the engine; undefined before it is born. */
  get process(): Process | undefined {
    return this.#hasSecond ? this.#second : this.#first;
  }

  /** The second process has been born. Takes over its pidfd. @throws Error if that is not expected. */
  born(pidfd: OwnedFd | undefined, pid: number): void {
    if (!this.#hasSecond || this.#second || !pidfd) throw new Error('it reports a birth that is not due');
    this.#second = native.adoptProcess(pidfd, pid);
    this.#awaitFirst();
  }

  /** A launcher ends by itself, but its caller could stop the process that becomes the engine. */
  kill(): void {
    this.process?.signal(os.signals.SIGKILL);
  }

  /**
   * Ends a launcher that failed, with everything in its cgroup. One that waits for its parameters reads the end of the connection. A
   * file system that never answers can delay the exit of a killed launcher without limit.
   * @param control taken over.
   * @returns when nothing of it is left.
   */
  async abandon(control: SeqpacketSocket, cgroup: EngineCgroup | undefined): Promise<void> {
    // The first process exits by itself when it has reported the second.
    if (this.#hasSecond && !this.#second) {
      await this.#awaitFirst();
      while (!this.#second && this.#receiveOne(control));
    }
    control.close();
    cgroup?.kill();
    const last = this.#hasSecond ? this.#second : this.#first;
    if (last) {
      // The caller may have moved it out of the cgroup.
      last.signal(os.signals.SIGKILL);
      await new Promise<void>((resolve) => last.onExit(() => resolve()));
      last.close();
    }
    await this.#firstGone;
    cgroup?.kill();
    cgroup?.remove();
  }

  #awaitFirst(): Promise<void> {
    this.#firstGone ??= new Promise((resolve) => {
      this.#first.onExit(() => {
        this.#first.close();
        resolve();
      });
    });
    return this.#firstGone;
  }

  /** The report of a birth may wait unread, behind an answer. @returns false if no packet waits. */
  #receiveOne(control: SeqpacketSocket): boolean {
    try {
      const packet = control.receive(maxAnswerBytes, 1);
      if (!packet) return false;
      const answer = decodeAnswer(packet.data);
      if (answer.kind === 'born') this.born(packet.fds[0], answer.pid);
      else for (const fd of packet.fds) fd.close();
      return true;
    } catch {
      return false;
    }
  }
}
