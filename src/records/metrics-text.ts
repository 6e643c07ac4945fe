/** Prometheus' text format, by prom-client. */
import { Counter, Gauge, Registry } from 'prom-client';
import { countName, secondsName, type Total } from './request-totals.ts';

/** The current load. */
export interface Load {
  readonly connections: number;
  /** Connections with an engine at work. */
  readonly busy: number;
  /** The number of requests that wait for an engine. */
  readonly waiting: number;
}

export function metricsText(totals: Iterable<Readonly<Total>>, load: Load): Promise<string> {
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
  for (const { request, result, ...total } of totals) {
    count.inc({ request, result }, total.count);
    seconds.inc({ request, result }, total.seconds);
  }
  const gauge = (name: string, help: string, value: number): void =>
    new Gauge({ name, help, registers }).set(value);
  gauge('criu_service_connections', 'Connections that are served.', load.connections);
  gauge('criu_service_connections_busy', 'Connections with an engine at work.', load.busy);
  gauge('criu_service_requests_waiting', 'Requests that wait for an engine.', load.waiting);
  return registry.metrics();
}
