/** Writes journald's native records, see sd_journal_sendv(3) and systemd.journal-fields(7). */
import { native } from '../native/binding.ts';
import { type Fields, type Level, type Log, levels } from './log.ts';

/** syslog(3). */
const priorities: Readonly<Record<Level, number>> = { error: 3, warning: 4, info: 6, debug: 7 };

/** Explained in units/criu.catalog. */
const lostMessageId = 'd0395aebc04e4708a44d4faa72c2db46';

/** Time that close() waits for a journal that does not read. */
const closeMs = 2000;
const pollMs = 5;

/** @param most the least important level that is written. */
export function journalLog(most: Level): Log {
  const records = new JournalRecords();
  const at =
    (level: Level) =>
    (message: string, fields: Fields = {}): void => {
      if (levels.indexOf(level) > levels.indexOf(most)) return;
      records.send({ MESSAGE: message, PRIORITY: priorities[level], ...fields });
    };
  return {
    error: at('error'),
    warning: at('warning'),
    info: at('info'),
    debug: at('debug'),
    most,
    close: () => records.close(),
  };
}

class JournalRecords {
  /** Records lost since the last successful record. */
  #lost = 0;

  /** A journal that is down must neither stop the service nor make it wait. */
  send(record: Fields): void {
    if (this.#lost > 0) {
      const told = this.#write({
        MESSAGE: `${this.#lost} records were lost, because the journal did not take them`,
        PRIORITY: priorities.warning,
        MESSAGE_ID: lostMessageId,
      });
      if (told) this.#lost = 0;
    }
    if (!this.#write(record)) this.#lost += 1;
  }

  async close(): Promise<void> {
    const end = performance.now() + closeMs;
    while (native.journalPending() > 0 && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
  }

  /** A field is NAME=value in one element, so a newline in a value cannot start another field. */
  #write(record: Fields): boolean {
    const all = { ...record, SYSLOG_IDENTIFIER: 'criu-service' };
    return native.journalSend(Object.entries(all).map(([name, value]) => Buffer.from(`${name}=${value}`)));
  }
}
