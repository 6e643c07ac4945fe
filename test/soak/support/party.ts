/** A caller that has a process of its own dumped and restored again and again, and reads the replies. */
import assert from 'node:assert/strict';
import { constants as os } from 'node:os';
import { type CriuReq, type CriuResp, ReqType } from '../../../src/protocol/messages.ts';
import { Attacker, AttackFailed, connection } from '../../hostile/support/attacker.ts';
import { directoryOf, targetOf, type User } from '../../hostile/support/people.ts';
import { eventually } from '../../system/support/bench.ts';
import { ourAddress } from '../../system/support/client.ts';
import { statusLine } from '../../system/support/proc.ts';
import type { Target } from '../../system/support/targets.ts';

/** The descriptor number of the images directory in the calling process. */
const imagesFd = 10;

/** Longer than any request takes, including a restart: it ends only a run that hangs. */
const patienceMs = 200_000;

export interface Turn {
  readonly request: CriuReq;
  readonly images: string;
}

/** The options of a turn, drawn anew for each. */
export interface Manner {
  /** A dump after which the process runs on. */
  readonly leaveRunning: boolean;
  /** The caller gets notifications. */
  readonly notified: boolean;
}

/** @returns undefined if the other end has been closed. */
async function unlessEnded<T>(call: Promise<T>): Promise<T | undefined> {
  const { ECONNRESET, EPIPE } = os.errno;
  try {
    return await call;
  } catch (error) {
    if (error instanceof AttackFailed && [ECONNRESET, EPIPE].includes(error.errno)) return undefined;
    throw error;
  }
}

export class Party {
  readonly user: User;
  readonly #caller: Attacker;
  readonly #target: Target;
  /** The images of the target; undefined while it runs. */
  #images: string | undefined;

  constructor(user: User) {
    this.user = user;
    // The same process makes all requests: a caller is a process, not a connection.
    this.#caller = new Attacker(user);
    this.#target = targetOf(user);
  }

  /** The pid of the calling process. */
  get pid(): number {
    return this.#caller.pid;
  }

  get runs(): boolean {
    return this.#images === undefined;
  }

  /** A dump if the target runs, otherwise a restore. */
  async nextTurn({ leaveRunning, notified }: Manner): Promise<Turn> {
    const images = this.#images ?? directoryOf(this.user);
    await this.#caller.do('open', imagesFd, 0, images);
    const opts = { images_dir_fd: imagesFd, notify_scripts: notified, log_level: 4 };
    const request: CriuReq = this.runs
      ? {
          type: ReqType.DUMP,
          opts: { ...opts, pid: this.#target.pid, leave_running: leaveRunning, log_file: 'dump.log' },
        }
      : { type: ReqType.RESTORE, opts: { ...opts, log_file: 'restore.log' } };
    return { request, images };
  }

  /**
   * Sends the request on a new connection, and confirms notifications.
   * @returns all final replies until the connection is closed.
   */
  async ask(request: CriuReq): Promise<CriuResp[]> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      const reason = new Error(
        `${this.user} has heard neither an answer nor an end for ${patienceMs / 1000} s`,
      );
      timer = setTimeout(() => reject(reason), patienceMs);
    });
    try {
      return await Promise.race([this.#dialog(request), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #dialog(request: CriuReq): Promise<CriuResp[]> {
    const caller = this.#caller;
    const replies: CriuResp[] = [];
    await caller.connect(ourAddress);
    await unlessEnded(caller.send(request));
    // If messages of ours are unread, the end is reported once as an error, ahead of the messages that can still be read.
    const receive = async () => (await unlessEnded(caller.receive())) ?? (await caller.receive());
    for (let got = await receive(); got !== 'closed'; got = await receive()) {
      // A notification that was forwarded twice gets two answers, the second perhaps after the final reply.
      if (got.type === ReqType.NOTIFY)
        await unlessEnded(caller.send({ type: ReqType.NOTIFY, notify_success: true }));
      else replies.push(got);
    }
    await caller.do('close', connection);
    return replies;
  }

  /** Call this after a successful reply: checks that the target is in the state that the request leads to. */
  async done({ request, images }: Turn, reply: CriuResp): Promise<void> {
    if (request.type === ReqType.RESTORE) {
      assert.equal(reply.restore?.pid, this.#target.pid);
      this.#images = undefined;
    } else if (!request.opts?.leave_running) {
      await eventually(
        `process ${this.#target.pid} is gone, and its parent knows`,
        () => statusLine(this.#target.pid, 'Pid') === undefined,
      );
      this.#images = images;
    }
    await this.assertAsItShouldBe();
  }

  /** The target counts on, or is gone. */
  async assertAsItShouldBe(): Promise<void> {
    if (this.runs) await this.#target.assertCountsOn();
    else assert.equal(this.#target.alive, false, `process ${this.#target.pid} runs beside its images`);
  }

  async end(): Promise<void> {
    await this.#caller.end();
    await this.#target.kill();
  }
}
