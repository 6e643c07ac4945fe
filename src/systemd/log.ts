/** The service's log: winston with syslog's levels, to the journal under systemd, to a file or stderr elsewhere. */
import winston from 'winston';
import { JournalTransport } from './journal.ts';

/** Structured fields of a record, named as the journal names its fields: upper case, digits, underscores. */
export type Fields = Readonly<Record<string, string | number | bigint>>;

export interface Log {
  error(message: string, fields?: Fields): void;
  warning(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  debug(message: string, fields?: Fields): void;
  /** Resolves when everything is written; nothing may be logged afterwards. */
  close(): Promise<void>;
}

export interface LogOptions {
  /** 0 nothing but errors, 1 warnings, 2 information (the default), 4 all: CRIU's -v[N]. */
  readonly verbosity: number;
  /** Append to this file. */
  readonly file?: string | undefined;
  /** Where it goes without a file: native records of journald (sd_journal_sendv(3)), readable lines, or nowhere. */
  readonly sink: 'journal' | 'stderr' | 'none';
}

const levels = ['error', 'warning', 'info', 'debug', 'debug'] as const;

export function createLog(options: LogOptions): Log {
  const level = levels[Math.min(Math.max(options.verbosity, 0), levels.length - 1)]!;
  const readable = winston.format.combine(
    winston.format.timestamp(),
    winston.format.printf(({ timestamp, level, message }) => `${timestamp} ${level}: ${message}`),
  );
  const logger = winston.createLogger({
    levels: winston.config.syslog.levels,
    level,
    silent: !options.file && options.sink === 'none',
    transports: options.file
      ? new winston.transports.File({ filename: options.file, format: readable })
      : options.sink === 'journal'
        ? new JournalTransport()
        : new winston.transports.Console({
            format: readable,
            stderrLevels: Object.keys(winston.config.syslog.levels),
          }),
  });
  const at =
    (name: string) =>
    (message: string, fields: Fields = {}) => {
      logger.log({ level: name, message, fields });
    };
  return {
    error: at('error'),
    warning: at('warning'),
    info: at('info'),
    debug: at('debug'),
    close: () =>
      new Promise((resolve) => {
        logger.once('finish', () => resolve());
        logger.end();
      }),
  };
}

/** Text that a client or an engine may have chosen, as one line without what moves a terminal's cursor, colours or order. */
export function sanitize(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ');
}
