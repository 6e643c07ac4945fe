/**
 * Keeps answers of engines that cannot change: to VERSION, and to FEATURE_CHECK, whose answer CRIU itself keeps in /run/criu.kdat
 * until the next boot. Answers are kept until then at most. They are dropped if the engine that would be started now is a
 * different one, or if CRIU's file is.
 *
 * An answer is kept byte for byte, for exactly the bytes of its question. Only questions without other fields count, so there are
 * as few kept questions as answers.
 */

import { native } from '../native/binding.ts';
import { decodeRequest, encodeRequest } from '../protocol/codec.ts';
import { ReqType } from '../protocol/messages.ts';
import type { AnswerFile } from './answer-file.ts';
import { engineIdentity } from './criu-binary.ts';
import type { PrivilegedEngineOptions } from './privileged.ts';

/** KDAT_PATH in CRIU's kerndat.c. */
const featureCache = '/run/criu.kdat';

/** A question whose answer may be kept. Create it before starting the engine that will answer. */
export interface Question {
  /** The kept answer of an earlier engine. */
  readonly answer: Buffer | undefined;
  /** To be called with a successful answer. */
  keep(answer: Buffer): void;
}

export class KeptAnswers {
  readonly #options: PrivilegedEngineOptions;
  readonly #file: AnswerFile | undefined;
  /** The engine that gave the answers; undefined before the first question. */
  #identity: string | undefined;
  /** Counts the calls of drop(). */
  #drops = 0;
  /** Questions and answers as bytes in Latin-1. */
  #answers = new Map<string, string>();

  /** @param file keeps the answers after this service has exited. */
  constructor(options: PrivilegedEngineOptions, file?: AnswerFile) {
    this.#options = options;
    this.#file = file;
  }

  /**
   * @param type of the request.
   * @param bytes that an engine would get.
   * @returns undefined if the answer may change from time to time.
   */
  question(type: number, bytes: Uint8Array): Question | undefined {
    if (!areConstant.has(type)) return undefined;
    const engine = engineIdentity(this.#options.criu);
    const features = native.fileIdentities([featureCache]);
    this.#lookFor(engine + features);
    const drops = this.#drops;
    const key = latin1(bytes);
    const answer = this.#answers.get(key);
    // A stored answer proves that isConstant() accepted this question before.
    if (answer === undefined && !isConstant(type, bytes)) return undefined;
    return {
      answer: answer === undefined ? undefined : Buffer.from(answer, 'latin1'),
      keep: (said) => {
        // If the program was replaced during the request, or all answers were dropped, the answer belongs to an unknown engine.
        // CRIU's file may have been created by this engine.
        if (engineIdentity(this.#options.criu) !== engine || drops !== this.#drops) return;
        const now = native.fileIdentities([featureCache]);
        if (now !== features && !isAbsent(features)) return;
        const identity = engine + now;
        this.#lookFor(identity);
        this.#answers.set(key, latin1(said));
        this.#file?.write({ identity, answers: this.#answers });
      },
    };
  }

  drop(): void {
    this.#drops += 1;
    this.#answers.clear();
    this.#file?.remove();
  }

  /** Switches to the answers of this engine: at first those that an earlier start has kept, later an empty set. */
  #lookFor(identity: string): void {
    if (identity === this.#identity) return;
    const before = this.#identity === undefined ? this.#file?.read() : undefined;
    this.#answers = new Map(before?.identity === identity ? before.answers : []);
    this.#identity = identity;
  }
}

/** @param identity of {@link featureCache}: for a missing file it holds an errno. */
function isAbsent(identity: string): boolean {
  return identity.startsWith(`${featureCache}!`);
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}

const areConstant: ReadonlySet<number> = new Set([ReqType.VERSION, ReqType.FEATURE_CHECK]);

/**
 * True for a question that every caller may ask and that discloses nothing about others: VERSION or FEATURE_CHECK without any
 * other field, in bytes that every parser reads in the same way.
 */
export function isConstant(type: number, bytes: Uint8Array): boolean {
  if (!areConstant.has(type)) return false;
  const decoded = decodeRequest(bytes, 'strict');
  if (decoded.kind === 'malformed') return false;
  const { features } = decoded.message;
  const question = type === ReqType.FEATURE_CHECK && features ? { type, features } : { type };
  return encodeRequest(question).equals(bytes);
}
