/**
 * Totals in a file that node_exporter's textfile collector reads (Prometheus' text format), for `--metrics-file`.
 *
 * A service that leaves when it is idle would start from zero each time, and what it did between two readings of the file
 * would be missed. So it goes on from the totals in the file.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { Log } from '../systemd/log.ts';
import type { Load } from './metrics-text.ts';
import { type Ended, RequestTotals } from './request-totals.ts';

/** How often it is written, at most. */
const intervalMs = 1000;

const idle: Load = { connections: 0, busy: 0, waiting: 0 };

export class MetricsFile {
  readonly #path: string;
  readonly #log: Log;
  readonly #totals: RequestTotals;
  #load: Load = idle;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  /** It could not be written; said once. */
  #failed = false;

  /** Nothing is written before something was done. */
  constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
    this.#totals = new RequestTotals(readIfThere(path));
  }

  ended(request: Ended): void {
    this.#totals.add(request);
    this.#changed();
  }

  load(load: Load): void {
    this.#load = load;
    this.#changed();
  }

  /** Writes the last, when this service has come to its end. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#writing;
    this.#load = idle;
    await this.#write();
  }

  #changed(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#writing = this.#write();
    }, intervalMs).unref();
  }

  /** The file is replaced whole: whoever reads it meanwhile reads the old one. */
  async #write(): Promise<void> {
    // The directory may be for others to write, too: a name that they do not know, and that must not be there.
    const next = `${this.#path}.${process.pid}.${Math.random().toString(36).slice(2)}`;
    try {
      writeFileSync(next, await this.#text(), { flag: 'wx', mode: 0o644 });
      renameSync(next, this.#path);
      this.#failed = false;
    } catch (error) {
      rmSync(next, { force: true });
      if (!this.#failed) this.#log.error(`Cannot write the metrics: ${(error as Error).message}`);
      this.#failed = true;
    }
  }

  /** prom-client is loaded only here: a first answer does not wait for it. */
  async #text(): Promise<string> {
    const { metricsText } = await import('./metrics-text.ts');
    return metricsText(this.#totals.all, this.#load);
  }
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
