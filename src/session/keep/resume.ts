/** Goes on with a session of an earlier start of the service. */
import type { EngineExit } from '../../engine/engine.ts';
import type { SeqpacketSocket } from '../../native/binding.ts';
import type { EngineEnd, Step } from '../machine/states.ts';
import type { SessionParts } from '../parts.ts';
import { holderOf } from './find-engine.ts';
import { asStored } from './found-engine.ts';
import { keepEngine, save } from './keeping.ts';
import { askAgain, goOnFrom, lookAnew, needsEngine, resumptionOf } from './resumption.ts';
import type { SessionSnapshot } from './session-file.ts';
import type { StoredSession } from './stored-sessions.ts';

const engineLost = 'The engine was lost when this service was restarted';

/** The pause before the first look whether an engine has read its request, and the longest pause; it doubles in between. */
const firstLookMs = 10;
const longestLookMs = 1000;

/** @param socket the caller's connection. */
export function resume(parts: SessionParts, stored: StoredSession, socket: SeqpacketSocket): void {
  const { snapshot, engine } = stored;
  parts.keeper.takeOver(stored);
  const elapsedMs = Math.max(0, Date.now() - snapshot.startedAtMs);
  parts.packets.recallCaller(socket);
  if (engine && snapshot.engine) parts.engines.adopt(engine, snapshot.engine);
  switch (resumptionOf(snapshot.state, engine !== undefined)) {
    case 'ask-again':
      startOver(parts, askAgain);
      return;
    case 'find-engine':
      parts.take({ state: snapshot.state, actions: [] });
      findEngine(parts, snapshot, elapsedMs).catch((error) => {
        parts.records.unexpected(error);
        parts.advance({ on: 'engine-end', end: { how: 'lost', reason: (error as Error).message } });
      });
      return;
    case 'look-anew':
      // An engine without a request exits.
      parts.engines.dismiss();
      startOver(parts, lookAnew);
      return;
    case 'go-on':
      goOn(parts, snapshot, elapsedMs);
  }
}

/** Saves the state before the actions (write-ahead). */
function startOver(parts: SessionParts, step: Step): void {
  save(parts, step.state);
  parts.take(step);
}

function goOn(parts: SessionParts, { state }: SessionSnapshot, elapsedMs: number): void {
  const request = 'request' in state ? state.request : undefined;
  if (request) parts.deadlines.forOperation(elapsedMs);
  parts.records.resumed(elapsedMs, request);
  parts.take(goOnFrom(state));
  if (!parts.engines.running && needsEngine(state))
    parts.advance({ on: 'engine-end', end: { how: 'lost', reason: engineLost } });
  else if (state.at === 'offered' && state.packet === 'queued') findOut(parts);
}

/**
 * The earlier start was killed during a hand-over, and may have started an engine on the connection. If the engine has not read
 * the request, kill it and judge the request again: another engine could read a packet behind it, which was never judged.
 */
async function findEngine(parts: SessionParts, snapshot: SessionSnapshot, elapsedMs: number): Promise<void> {
  const { context, engines, records } = parts;
  const { state, callerInode, becomes } = snapshot;
  let holder = await holderOf(callerInode);
  if (holder && isUnread(parts)) {
    await context.endUnbegun(holder, becomes, (left) => engines.sweep(left));
    holder = undefined;
  }
  // The engine may have read the request right before it was killed.
  if (isUnread(parts)) {
    startOver(parts, lookAnew);
    return;
  }
  records.resumed(elapsedMs, 'request' in state ? state.request : undefined);
  parts.connection.handOver();
  if (holder) {
    engines.adopt(...asStored(holder, becomes));
    keepEngine(parts);
  } else {
    if (becomes) engines.sweep(becomes);
    parts.advance({ on: 'engine-end', end: knownEnd(parts, { how: 'unknown', reason: engineLost }) });
  }
}

/** True if the request is still in its caller's queue. A different packet at the head was sent after it. */
export function isUnread({ packets, keeper }: SessionParts): boolean {
  const head = packets.head();
  return head.kind === 'packet' && keeper.packet?.data.equals(head.data) === true;
}

/**
 * The earlier start was killed while it sent the request to the engine. If the engine has the request, it will speak or exit. If it
 * has not, it waits as long as we hold its connection, and the request is judged again for another engine.
 */
function findOut(parts: SessionParts, pauseMs = firstLookMs): void {
  const state = parts.state();
  // In another state the question is settled: for example, an engine that rolls back has been sent an end of file.
  if (state.at !== 'offered' || state.by === 'this-start') return;
  const waits = parts.engines.waitsForRequest;
  if (waits === undefined) {
    // The engine may be in the middle of a dump. It reads an end of file where it waits next, and its final reply counts.
    const reason = 'whether an engine had it when this service was restarted cannot be found out';
    parts.advance({ on: 'deadline', reason });
  } else if (waits) parts.advance({ on: 'unread' });
  else setTimeout(() => findOut(parts, Math.min(2 * pauseMs, longestLookMs)), pauseMs);
}

/**
 * Completes an unknown exit: waitid(2) gives no exit status for an engine that an earlier start forked. After a hand-over, a caller
 * that has disappeared was dumped successfully.
 */
export function knownEnd({ state, packets, connection }: SessionParts, end: EngineExit): EngineEnd {
  if (end.how !== 'unknown') return { how: end.how, reason: end.reason };
  // The engine's reply did not pass through the service. If the caller has read the reply already and still waits, it is told that
  // the engine was lost.
  const done = state().at === 'handed-over' && (!packets.caller?.isThere || connection.isAnswered);
  return { how: done ? 'success' : 'lost', reason: end.reason };
}
