/**
 * Readings of /proc, apart from who carries them out. A reading is a generator that yields questions and is given their answers:
 * at once, where nothing can block; on a thread that may be lost, for a process whose owner can block whoever looks at it.
 */
import { constants } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import { native, type OwnedFd, type ProcAnswer, type ProcQuestion } from '../native/binding.ts';
import { nextTurn, startTurn } from './turns.ts';

/** No questions: a place where a long reading may be interrupted. */
export const breath: readonly ProcQuestion[] = [];

export type ProcReading<T> = Generator<readonly ProcQuestion[], T, readonly ProcAnswer[]>;

/** @param directory a path, for example `/proc/self`, or what is open already. @throws NativeError when it cannot be opened. */
export function answerAtOnce<T>(reading: ProcReading<T>, directory: string | OwnedFd): T {
  if (typeof directory === 'string') {
    const opened = native.open(directory, constants.O_DIRECTORY);
    try {
      return answerAtOnce(reading, opened);
    } finally {
      opened.close();
    }
  }
  let answers: ProcAnswer[] = [];
  for (;;) {
    const step = reading.next(answers);
    if (step.done) return step.value;
    answers = step.value.length > 0 ? native.readAtOnce(directory, step.value) : [];
  }
}

/** @throws NativeError when no thread can be had. */
export async function answerElsewhere<T>(reading: ProcReading<T>, directory: OwnedFd): Promise<T> {
  let answers: ProcAnswer[] = [];
  for (let turn = startTurn(); ; ) {
    const step = reading.next(answers);
    if (step.done) return step.value;
    if (step.value.length > 0) {
      answers = await native.readElsewhere(directory, step.value);
      turn = startTurn();
    } else {
      answers = [];
      if (turn.isOver) turn = await nextTurn();
    }
  }
}

/** What a reading makes of an answer that it cannot do without. @throws Error with a `code` such as ENOENT */
export function required(given: ProcAnswer | undefined): string {
  if (typeof given === 'string') return given;
  const code = given === undefined ? 'EIO' : getSystemErrorName(-given);
  throw Object.assign(new Error(code), { code });
}

/** `names` and a newline after each, as the addon has it. */
export function lines(text: string): string[] {
  return text.split('\n').slice(0, -1);
}
