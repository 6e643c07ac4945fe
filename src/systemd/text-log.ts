/** Writes a log of readable lines by winston: to a file, or to stderr. */
import winston from 'winston';
import type { Fields, Level, Log } from './log.ts';

/**
 * @param most the least important level that is written.
 * @param file the file to append to; stderr without it.
 */
export function textLog(most: Level, file: string | undefined): Log {
  const readable = winston.format.combine(
    winston.format.timestamp(),
    winston.format.printf(({ timestamp, level, message }) => `${timestamp} ${level}: ${message}`),
  );
  const { levels } = winston.config.syslog;
  const logger = winston.createLogger({
    levels,
    level: most,
    transports: file
      ? new winston.transports.File({ filename: file, format: readable })
      : new winston.transports.Console({ format: readable, stderrLevels: Object.keys(levels) }),
  });
  const at =
    (level: Level) =>
    (message: string, fields: Fields = {}): void => {
      logger.log({ level, message, fields });
    };
  return {
    error: at('error'),
    warning: at('warning'),
    info: at('info'),
    debug: at('debug'),
    most,
    close: () =>
      new Promise((resolve) => {
        logger.once('finish', () => resolve());
        logger.end();
      }),
  };
}
