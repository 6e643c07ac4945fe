/** The service's log, independent of its destination (open-log.ts). */

/** Structured fields of a record, named as in the journal: upper case, digits, underscores. */
export type Fields = Readonly<Record<string, string | number | bigint>>;

export interface Log {
  error(message: string, fields?: Fields): void;
  warning(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  debug(message: string, fields?: Fields): void;
  /** The least important level that is written. Callers need not build records below it. */
  readonly most: Level;
  /** Resolves when everything is written; nothing may be logged afterwards. */
  close(): Promise<void>;
}

/** From the most to the least important. */
export const levels = ['error', 'warning', 'info', 'debug'] as const;
export type Level = (typeof levels)[number];

/**
 * Makes one line of a text that a client or an engine may have chosen, without characters that move a terminal's cursor, colours
 * or order.
 */
export function sanitize(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ');
}
