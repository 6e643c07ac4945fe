/**
 * Readings of /proc, independent of the way they are carried out. A reading is a generator that yields questions and receives
 * their answers: synchronously where nothing can block, or from a native thread that may hang, for a process whose owner can
 * block its readers.
 */
import { constants } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import { native, type OwnedFd, type ProcAnswer, type ProcQuestion } from '../native/binding.ts';
import { nextTurn, startTurn } from './turns.ts';

/** An empty list of questions: a long reading may be interrupted here. */
export const breath: readonly ProcQuestion[] = [];

export type ProcReading<T> = Generator<readonly ProcQuestion[], T, readonly ProcAnswer[]>;

/**
 * @param directory a path, for example `/proc/self`, or an open descriptor. @throws NativeError when the path cannot be opened.
 */
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

/** @throws NativeError when no thread can be started. */
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

/** Returns the text of an answer that the reading needs. @throws Error with a `code` such as ENOENT */
export function required(given: ProcAnswer | undefined): string {
  if (typeof given === 'string') return given;
  const code = given === undefined ? 'EIO' : getSystemErrorName(-given);
  throw Object.assign(new Error(code), { code });
}

/** Splits the addon's lists: names with a newline after each. */
export function lines(text: string): string[] {
  return text.split('\n').slice(0, -1);
}
