/**
 * Totals in a file that node_exporter's textfile collector reads (Prometheus' text format), for `--metrics-file`.
 *
 * A service that exits when idle goes on from the totals in the file. If it began from zero each time, requests between two
 * readings of the file could be missed.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { Log } from '../systemd/log.ts';
import type { Load } from './metrics-text.ts';
import { type Ended, RequestTotals } from './request-totals.ts';

/** The shortest time between two writes. */
const intervalMs = 1000;

const idle: Load = { connections: 0, busy: 0, waiting: 0 };

export class MetricsFile {
  readonly #path: string;
  readonly #log: Log;
  readonly #totals: RequestTotals;
  #load: Load = idle;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  /** The last write failed; the failure is logged once. */
  #failed = false;

  /** The file is first written after the first change. */
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

  /** Writes the file a last time, when the service ends. */
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

  /** Replaces the file atomically: a concurrent reader gets the old file or the new one. */
  async #write(): Promise<void> {
    // Other users may be able to write the directory, too: use a name that they cannot guess, and that must not exist (O_EXCL).
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

  /** prom-client is loaded here, so that the first answer of the service does not wait for it. */
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
