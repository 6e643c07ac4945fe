/**
 * Answers of engines that cannot change: VERSION, and FEATURE_CHECK, whose answer CRIU itself keeps in /run/criu.kdat until
 * the next boot. They are kept in memory, so that none outlives the boot, and are dropped when the engine that would be started
 * now is another one, or that file of CRIU's is.
 *
 * Kept is what an engine said, byte for byte, to exactly these bytes; only questions that hold nothing else count, so
 * that there are as few of them as there are answers.
 */
import { decodeRequest, encodeRequest } from '../protocol/codec.ts';
import { ReqType } from '../protocol/messages.ts';
import { engineIdentity, fileIdentity } from './criu-binary.ts';
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
  readonly #answers = new Map<string, Buffer>();
  /** Which engine they are of. */
  #identity = '';

  constructor(options: PrivilegedEngineOptions) {
    this.#options = options;
  }

  /**
   * @param type what it asks for.
   * @param bytes what an engine would get.
   * @returns undefined for everything whose answer may be another one the next time.
   */
  question(type: number, bytes: Uint8Array): Question | undefined {
    if (!isConstant(type, bytes)) return undefined;
    const engine = this.#engine();
    if (engine === undefined) return undefined;
    const identity = `${engine} ${fileIdentity(featureCache)}`;
    if (identity !== this.#identity) this.#answers.clear();
    this.#identity = identity;
    const key = Buffer.from(bytes).toString('latin1');
    return {
      answer: this.#answers.get(key),
      keep: (answer) => {
        // An engine may have written CRIU's file itself; if the program was replaced meanwhile, nobody knows which one it was.
        if (this.#engine() !== engine) return;
        const now = `${engine} ${fileIdentity(featureCache)}`;
        if (now !== this.#identity) this.#answers.clear();
        this.#identity = now;
        this.#answers.set(key, answer);
      },
    };
  }

  drop(): void {
    this.#answers.clear();
  }

  #engine(): string | undefined {
    try {
      return engineIdentity(this.#options.criu);
    } catch {
      // The engine that cannot be started says more.
      return undefined;
    }
  }
}

/**
 * A question that everybody may ask and nobody learns anything from: VERSION or FEATURE_CHECK, in bytes that say the same to
 * every parser, and nothing but that.
 */
export function isConstant(type: number, bytes: Uint8Array): boolean {
  if (type !== ReqType.VERSION && type !== ReqType.FEATURE_CHECK) return false;
  const decoded = decodeRequest(bytes, 'strict');
  if (decoded.kind === 'malformed') return false;
  const { features } = decoded.message;
  const question = type === ReqType.FEATURE_CHECK && features ? { type, features } : { type };
  return encodeRequest(question).equals(bytes);
}
