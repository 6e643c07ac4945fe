/** Keeps a session in systemd's store, as its parts are at this moment. */
import type { SessionParts } from '../parts.ts';
import type { Stand } from './session-keeper.ts';

type Kept = Pick<SessionParts, 'connection' | 'packets' | 'engines' | 'records' | 'keeper' | 'state'>;

/** Gives the session to the store, until the session ends. */
export function keep(parts: Kept): void {
  const copy = parts.connection.copy();
  if (!copy) return;
  parts.keeper.start(copy, parts.packets.judged, standOf(parts));
  copy.close();
  keepEngine(parts);
}

/** Gives the current engine to the store. Call this before the engine gets its request. */
export function keepEngine(parts: Kept): void {
  parts.engines.copyFdsFor((serial, fds) => parts.keeper.engine(serial, fds, standOf(parts)));
}

/** @param state the state to save, if it is not that of the session. */
export function save(parts: Kept, state = parts.state()): void {
  if (!parts.keeper.keeps) return;
  if (state.at === 'draining' || state.at === 'over') parts.keeper.forget();
  else parts.keeper.save({ ...standOf(parts), state });
}

function standOf({ engines, records, state }: Kept): Stand {
  return { state: state(), startedAtMs: records.receivedAtMs, ...engines.snapshot };
}
