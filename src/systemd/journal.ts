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

/** Explained in units/criu.catalog. */
const lostMessageId = 'd0395aebc04e4708a44d4faa72c2db46';

/** How long the end waits for a journal that does not read. */
const closeMs = 2000;
const pollMs = 5;

export class JournalTransport extends Transport {
  /** Records that found no room since the last one that did. */
  #lost = 0;

  override log(info: LogInfo, next: () => void): void {
    const priority = winston.config.syslog.levels[info[LEVEL]] ?? 6;
    const fields = {
      MESSAGE: info.message,
      PRIORITY: priority,
      SYSLOG_IDENTIFIER: 'criu-service',
      ...info.fields,
    };
    // A field is NAME=value in one element, so a newline in a value starts no new field.
    this.#send(Object.entries(fields).map(([name, value]) => Buffer.from(`${name}=${value}`)));
    next();
  }

  /** winston waits for this before it says that it has finished. */
  override async _final(callback: (error?: Error | null) => void): Promise<void> {
    const end = performance.now() + closeMs;
    while (native.journalPending() > 0 && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
    callback();
  }

  /** A journal that is down must not stop the service, nor be waited for. */
  #send(fields: Buffer[]): void {
    if (this.#lost > 0) {
      const told = native.journalSend([
        Buffer.from(`MESSAGE=${this.#lost} records were lost, because the journal did not take them`),
        Buffer.from('PRIORITY=4'),
        Buffer.from('SYSLOG_IDENTIFIER=criu-service'),
        Buffer.from(`MESSAGE_ID=${lostMessageId}`),
      ]);
      if (told) this.#lost = 0;
    }
    if (!native.journalSend(fields)) this.#lost += 1;
  }
}
