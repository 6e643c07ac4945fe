/** The one error of this library. */
import { constants as os } from 'node:os';
import { getSystemErrorName } from 'node:util';

/**
 * What went wrong, from the first step of a request to its last:
 * - `INVALID`: an option that cannot be sent; nothing was;
 * - `DIRECTORY`: a directory of the request cannot be opened;
 * - `UNREACHABLE`: there is no service at the address, or it does not let this process connect; or there is no `criu` to start;
 * - `FAILED`: the request was refused, or CRIU tried and failed. `errno` and `criuMessage` say more, `log` most;
 * - `NOTIFICATION`: a notification handler threw, and CRIU was told so. `cause` is what it threw;
 * - `ABORTED`: the signal of the request was aborted. `cause` is its reason;
 * - `CLOSED`: the connection ended without a reply;
 * - `PROTOCOL`: the reply is none to this request. `expected` and `received` are the types.
 */
export type CriuErrorCode =
  | 'INVALID'
  | 'DIRECTORY'
  | 'UNREACHABLE'
  | 'FAILED'
  | 'NOTIFICATION'
  | 'ABORTED'
  | 'CLOSED'
  | 'PROTOCOL';

/** What a {@link CriuError} knows besides its code and its sentence. */
export interface CriuErrorDetails {
  readonly errno?: number | undefined;
  readonly expected?: string | undefined;
  readonly received?: string | undefined;
  readonly criuMessage?: string | undefined;
  readonly log?: string | undefined;
  readonly cause?: unknown;
}

/** A request that came to nothing. `message` is one sentence for a person. */
export class CriuError extends Error {
  override readonly name = 'CriuError';
  readonly code: CriuErrorCode;
  /** A positive number of errno(3), where there is one: cr_errno of the reply, or that of a failing call of ours. */
  readonly errno: number | undefined;
  /** The request's type in rpc.proto, for example `DUMP`. */
  readonly expected: string | undefined;
  /** The reply's type. `EMPTY` is CRIU's answer to what it could not read. */
  readonly received: string | undefined;
  /** cr_errmsg of the reply: a sentence of the service, or the first error line of CRIU. */
  readonly criuMessage: string | undefined;
  /** Where CRIU wrote its log, as a path of this process; it exists only if CRIU came that far. */
  readonly log: string | undefined;

  constructor(code: CriuErrorCode, message: string, details: CriuErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.errno = details.errno;
    this.expected = details.expected;
    this.received = details.received;
    this.criuMessage = details.criuMessage;
    this.log = details.log;
  }

  /** The name of {@link errno}, for example `EPERM`. */
  get errnoName(): string | undefined {
    return this.errno === undefined ? undefined : nameOfErrno(this.errno);
  }
}

/** Whether something that was thrown is a {@link CriuError}, and, where `code` is given, one of that code. */
export function isCriuError(error: unknown, code?: CriuErrorCode): error is CriuError {
  return error instanceof CriuError && (code === undefined || error.code === code);
}

/** What CRIU means by an errno that it gives without a sentence (set_cr_errno in criu/cr-errno.c's users). */
const meanings: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  DUMP: { [os.errno.ESRCH]: 'there is no such process' },
  PRE_DUMP: { [os.errno.ESRCH]: 'there is no such process' },
  SINGLE_PRE_DUMP: { [os.errno.ESRCH]: 'there is no such process' },
  RESTORE: { [os.errno.EEXIST]: 'a process has the pid that it is to be restored under' },
};

/** EBADRQC of <asm-generic/errno.h>, which node:os does not have: CRIU does not take the options. */
const EBADRQC = 56;

/** The sentence for a failing reply. */
export function describeFailure(
  request: string,
  errno: number | undefined,
  criuMessage: string | undefined,
): string {
  const words = criuMessage?.trim();
  if (words) return words.startsWith(`${request} `) ? words : `${request} failed: ${words}`;
  if (!errno) return `${request} failed`;
  const meaning =
    meanings[request]?.[errno] ?? (errno === EBADRQC ? 'CRIU does not take these options' : undefined);
  return `${request} failed: ${meaning ?? nameOfErrno(errno)}`;
}

/** Node names what libuv knows, which is not all that Linux has. */
export function nameOfErrno(errno: number): string {
  if (errno === EBADRQC) return 'EBADRQC';
  try {
    const name = getSystemErrorName(-errno);
    return name.startsWith('Unknown') ? `errno ${errno}` : name;
  } catch {
    return `errno ${errno}`;
  }
}

/** For a signal that was aborted. */
export function abortError(signal: AbortSignal, log?: string): CriuError {
  return new CriuError('ABORTED', 'The request was aborted', { cause: signal.reason, log });
}
