/**
 * Totals in a file that node_exporter's textfile collector reads (Prometheus' text format), for `--metrics-file`.
 *
 * A service that leaves when it is idle would start from zero each time, and what it did between two readings of the file
 * would be missed. So it goes on from the totals in the file.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { Log } from '../systemd/log.ts';
import { countName, type Ended, RequestTotals, secondsName } from './request-totals.ts';

/** What is going on now. */
export interface Load {
  readonly connections: number;
  /** Of them, those with an engine at work. */
  readonly busy: number;
  /** Requests that wait for an engine. */
  readonly waiting: number;
}

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
    const { Counter, Gauge, Registry } = await import('prom-client');
    const registry = new Registry();
    const registers = [registry];
    const labelNames = ['request', 'result'] as const;
    const count = new Counter({ name: countName, help: 'Requests that have ended.', labelNames, registers });
    const seconds = new Counter({
      name: secondsName,
      help: 'Time that requests took, from their packet to the final reply.',
      labelNames,
      registers,
    });
    for (const { request, result, ...total } of this.#totals.all) {
      count.inc({ request, result }, total.count);
      seconds.inc({ request, result }, total.seconds);
    }
    const gauge = (name: string, help: string, value: number): void =>
      new Gauge({ name, help, registers }).set(value);
    gauge('criu_service_connections', 'Connections that are served.', this.#load.connections);
    gauge('criu_service_connections_busy', 'Connections with an engine at work.', this.#load.busy);
    gauge('criu_service_requests_waiting', 'Requests that wait for an engine.', this.#load.waiting);
    return registry.metrics();
  }
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
