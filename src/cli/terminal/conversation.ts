/** A person with a program: criuctl's own terminal is the program's until the program ends or the person leaves. */
import type { OwnedFd, TerminalMaster } from '../../native/binding.ts';
import { leaveAtOnce } from '../../native/leave.ts';
import { exitCodeOf, inJson, inWords } from '../ending.ts';
import { exitCodes } from '../exit-codes.ts';
import type { Outcome } from '../invocation.ts';
import { Running } from '../running.ts';
import { append } from './output-file.ts';
import { Relay } from './relay.ts';

export interface Conversation {
  readonly pid: number;
  /** It is closed at the end. */
  readonly master: TerminalMaster;
  /** The program has written this last. */
  readonly written?: Uint8Array;
  /** The output goes there, too. */
  readonly file?: OwnedFd | undefined;
  /** Shown first. */
  readonly lines: readonly string[];
  /** Fields of the result. */
  readonly json: object;
  /**
   * Gives the terminal to a holder, when the person leaves.
   * @throws Error: the person stays.
   */
  keep(written: Uint8Array): Promise<void>;
  /** The person's terminal has gone. */
  hungUp(written: Uint8Array): void;
}

export const howToLeave = 'Ctrl-] d leaves it';

export async function converse(with_: Conversation): Promise<Outcome> {
  const { pid, master, file, json } = with_;
  const running = Running.find(pid);
  let { written } = with_;
  for (let lines = with_.lines; ; ) {
    // Keys that are typed when the lines are read are the program's.
    const relay = new Relay(master, written, (bytes) => append(file, bytes));
    relay.say(lines);
    void running?.end.then(() => relay.stop());
    const end = await relay.end;
    written = relay.tail;
    if (end === 'left') {
      try {
        await with_.keep(written);
      } catch (error) {
        lines = [`criuctl: ${(error as Error).message}`];
        continue;
      }
      master.close();
      running?.close();
      return {
        sentence: `\r\nProcess ${pid} runs on. "criuctl attach ${pid}" gives it a terminal again`,
        value: `${pid}`,
        json: { ...json, left: true },
      };
    }
    if (end === 'hung-up') {
      with_.hungUp(written);
      master.close();
      leaveAtOnce(exitCodes.interrupted);
    }
    break;
  }
  master.close();
  const status = (await running?.end) ?? { kind: 'unknown' };
  return {
    sentence: `Process ${pid} ${inWords(status)}`,
    value: `${pid}`,
    json: { ...json, ...inJson(status) },
    exitCode: exitCodeOf(status),
  };
}
