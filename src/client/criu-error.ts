/** The only error class of this library. */
import { constants as os } from 'node:os';
import { getSystemErrorName } from 'node:util';

/**
 * The reasons for a failure, in the order of a request's steps:
 * - `INVALID`: an option cannot be sent; nothing was sent;
 * - `DIRECTORY`: a directory of the request cannot be opened;
 * - `UNREACHABLE`: there is no service at the address, or it does not let this process connect; or there is no `criu` to start;
 * - `FAILED`: the request was refused, or CRIU tried and failed. `errno` and `criuMessage` say more, `log` most;
 * - `NOTIFICATION`: a notification handler threw, and CRIU was told to fail. `cause` is the thrown value;
 * - `ABORTED`: the signal of the request was aborted. `cause` is its reason;
 * - `CLOSED`: the connection ended without a reply;
 * - `PROTOCOL`: the reply does not fit the request. `expected` and `received` are the types.
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

/** Details of a {@link CriuError} besides its code and its sentence. */
export interface CriuErrorDetails {
  readonly errno?: number | undefined;
  readonly expected?: string | undefined;
  readonly received?: string | undefined;
  readonly criuMessage?: string | undefined;
  readonly log?: string | undefined;
  readonly cause?: unknown;
}

/** A failed request. `message` is a sentence for a person. */
export class CriuError extends Error {
  override readonly name = 'CriuError';
  readonly code: CriuErrorCode;
  /** A positive number of errno(3), if there is one: cr_errno of the reply, or the errno of a failing call in this process. */
  readonly errno: number | undefined;
  /** The request's type in rpc.proto, for example `DUMP`. */
  readonly expected: string | undefined;
  /** The reply's type. `EMPTY` is CRIU's answer to an unreadable request. */
  readonly received: string | undefined;
  /** cr_errmsg of the reply: a sentence of the service, or the first error line of CRIU. */
  readonly criuMessage: string | undefined;
  /** Path of CRIU's log in this process; the file exists only if CRIU came that far. */
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

/** Tells whether a thrown value is a {@link CriuError}, and has `code`, if `code` is given. */
export function isCriuError(error: unknown, code?: CriuErrorCode): error is CriuError {
  return error instanceof CriuError && (code === undefined || error.code === code);
}

/** CRIU's meaning of an errno that comes without a sentence (set_cr_errno in criu/cr-errno.c's users). */
const meanings: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  DUMP: { [os.errno.ESRCH]: 'there is no such process' },
  PRE_DUMP: { [os.errno.ESRCH]: 'there is no such process' },
  SINGLE_PRE_DUMP: { [os.errno.ESRCH]: 'there is no such process' },
  RESTORE: { [os.errno.EEXIST]: 'a process has the pid that it is to be restored under' },
};

/** EBADRQC of <asm-generic/errno.h>, which node:os lacks: CRIU does not take the options. */
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

/** Node names the errnos that libuv knows, which are fewer than Linux has. */
export function nameOfErrno(errno: number): string {
  if (errno === EBADRQC) return 'EBADRQC';
  try {
    const name = getSystemErrorName(-errno);
    return name.startsWith('Unknown') ? `errno ${errno}` : name;
  } catch {
    return `errno ${errno}`;
  }
}

/** The error for an aborted signal. */
export function abortError(signal: AbortSignal, log?: string): CriuError {
  return new CriuError('ABORTED', 'The request was aborted', { cause: signal.reason, log });
}
