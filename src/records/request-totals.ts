/** Counts and durations of requests by type and result, over all starts of the service. Pure. */
import type { Result } from './vocabulary.ts';

/** A request that has ended. */
export interface Ended {
  /** The name of the type in `criu_req_type`; undefined if it was not decoded, or the connection was turned away. */
  readonly request: string | undefined;
  readonly result: Result;
  /** From reading the packet to the final reply, in microseconds; undefined if no packet was read. */
  readonly durationUsec: number | undefined;
}

export interface Total {
  /** The name of the type, or `none`. */
  readonly request: string;
  readonly result: Result;
  count: number;
  seconds: number;
}

/** The names of the metrics, for writing the file and for reading it back. */
export const countName = 'criu_service_requests_total';
export const secondsName = 'criu_service_request_seconds_total';

const sample = new RegExp(
  `^(${countName}|${secondsName})\\{request="([A-Z_]+|none)",result="(done|failed|refused)"\\} ([0-9.e+-]+)$`,
  'gm',
);

export class RequestTotals {
  readonly #totals = new Map<string, Total>();

  /** @param text the metrics of an earlier start, in Prometheus' text format. Other lines are ignored. */
  constructor(text = '') {
    for (const [, name, request, result, number] of text.matchAll(sample)) {
      const value = Number(number);
      if (!(value >= 0 && Number.isFinite(value))) continue;
      const total = this.#of(request!, result as Result);
      if (name === countName) total.count = value;
      else total.seconds = value;
    }
  }

  add({ request, result, durationUsec }: Ended): void {
    const total = this.#of(request ?? 'none', result);
    total.count += 1;
    total.seconds += (durationUsec ?? 0) / 1e6;
  }

  get all(): Iterable<Readonly<Total>> {
    return this.#totals.values();
  }

  #of(request: string, result: Result): Total {
    const key = `${request} ${result}`;
    const known = this.#totals.get(key);
    if (known) return known;
    const total = { request, result, count: 0, seconds: 0 };
    this.#totals.set(key, total);
    return total;
  }
}
