/** A winston transport that writes journald's native records, see sd_journal_sendv(3) and systemd.journal-fields(7). */
import { LEVEL } from 'triple-beam';
import winston from 'winston';
import Transport from 'winston-transport';
import { native } from '../socket/binding.ts';

interface LogInfo {
  readonly [LEVEL]: string;
  readonly message: string;
  readonly fields?: Readonly<Record<string, string | number | bigint>>;
}

export class JournalTransport extends Transport {
  override log(info: LogInfo, next: () => void): void {
    const priority = winston.config.syslog.levels[info[LEVEL]] ?? 6;
    const fields = {
      MESSAGE: info.message,
      PRIORITY: priority,
      SYSLOG_IDENTIFIER: 'criu-service',
      ...info.fields,
    };
    try {
      // A field is NAME=value in one element, so a newline in a value starts no new field.
      native.journalSend(Object.entries(fields).map(([name, value]) => Buffer.from(`${name}=${value}`)));
    } catch {
      // A journal that is down must not stop the service; systemd still has what goes to stderr.
      process.stderr.write(`<${priority}>${info.message}\n`);
    }
    next();
  }
}
