/**
 * Answers of engines that cannot change: VERSION, and FEATURE_CHECK, whose answer CRIU itself keeps in /run/criu.kdat until
 * the next boot. They are kept no longer than that, and are dropped when the engine that would be started now is another one,
 * or that file of CRIU's is.
 *
 * Kept is what an engine said, byte for byte, to exactly these bytes; only questions that hold nothing else count, so
 * that there are as few of them as there are answers.
 */

import { native } from '../native/binding.ts';
import { decodeRequest, encodeRequest } from '../protocol/codec.ts';
import { ReqType } from '../protocol/messages.ts';
import type { AnswerFile } from './answer-file.ts';
import { engineIdentity } from './criu-binary.ts';
import type { PrivilegedEngineOptions } from './privileged.ts';

/** KDAT_PATH in CRIU's kerndat.c. */
const featureCache = '/run/criu.kdat';

/** A question whose answer may be kept; made before the engine that will answer it was started. */
export interface Question {
  /** What an engine said to it before. */
  readonly answer: Buffer | undefined;
  /** To be told of a successful answer. */
  keep(answer: Buffer): void;
}

export class KeptAnswers {
  readonly #options: PrivilegedEngineOptions;
  readonly #file: AnswerFile | undefined;
  /** Of which engine they are; none was looked for yet. */
  #identity: string | undefined;
  /** How often all were dropped. */
  #drops = 0;
  /** Questions and answers as bytes in Latin-1. */
  #answers = new Map<string, string>();

  /** @param file where they outlive this service. */
  constructor(options: PrivilegedEngineOptions, file?: AnswerFile) {
    this.#options = options;
    this.#file = file;
  }

  /**
   * @param type what it asks for.
   * @param bytes what an engine would get.
   * @returns undefined for everything whose answer may be another one the next time.
   */
  question(type: number, bytes: Uint8Array): Question | undefined {
    if (!areConstant.has(type)) return undefined;
    const engine = engineIdentity(this.#options.criu);
    const features = native.fileIdentities([featureCache]);
    this.#lookFor(engine + features);
    const drops = this.#drops;
    const key = latin1(bytes);
    const answer = this.#answers.get(key);
    // What has an answer was looked at before.
    if (answer === undefined && !isConstant(type, bytes)) return undefined;
    return {
      answer: answer === undefined ? undefined : Buffer.from(answer, 'latin1'),
      keep: (said) => {
        // If the program was replaced meanwhile, or all was dropped, nobody knows of which it is. An engine may have made CRIU's file.
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

  /** Takes what another start has kept, where this one knows nothing yet, and nothing of another engine. */
  #lookFor(identity: string): void {
    if (identity === this.#identity) return;
    const before = this.#identity === undefined ? this.#file?.read() : undefined;
    this.#answers = new Map(before?.identity === identity ? before.answers : []);
    this.#identity = identity;
  }
}

/** @param identity of {@link featureCache}: where it leads nowhere, an errno. */
function isAbsent(identity: string): boolean {
  return identity.startsWith(`${featureCache}!`);
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}

const areConstant: ReadonlySet<number> = new Set([ReqType.VERSION, ReqType.FEATURE_CHECK]);

/**
 * A question that everybody may ask and nobody learns anything from: VERSION or FEATURE_CHECK, in bytes that say the same to
 * every parser, and nothing but that.
 */
export function isConstant(type: number, bytes: Uint8Array): boolean {
  if (!areConstant.has(type)) return false;
  const decoded = decodeRequest(bytes, 'strict');
  if (decoded.kind === 'malformed') return false;
  const { features } = decoded.message;
  const question = type === ReqType.FEATURE_CHECK && features ? { type, features } : { type };
  return encodeRequest(question).equals(bytes);
}
