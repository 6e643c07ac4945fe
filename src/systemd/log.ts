/** The service's log, wherever it goes (open-log.ts). */

/** Structured fields of a record, named as the journal names its fields: upper case, digits, underscores. */
export type Fields = Readonly<Record<string, string | number | bigint>>;

export interface Log {
  error(message: string, fields?: Fields): void;
  warning(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  debug(message: string, fields?: Fields): void;
  /** The least important level that is written: what is not written need not be put together. */
  readonly most: Level;
  /** Resolves when everything is written; nothing may be logged afterwards. */
  close(): Promise<void>;
}

/** The most important first. */
export const levels = ['error', 'warning', 'info', 'debug'] as const;
export type Level = (typeof levels)[number];

/** Text that a client or an engine may have chosen, as one line without what moves a terminal's cursor, colours or order. */
export function sanitize(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ');
}
