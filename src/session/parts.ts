/** The objects of one session. session.ts makes them, and lends them to those who carry out its larger actions. */
import type { CallerConnection } from './caller/connection.ts';
import type { Deadlines } from './caller/deadlines.ts';
import type { CallerPackets } from './caller/packets.ts';
import type { SessionContext } from './context.ts';
import type { EngineLeases } from './engines/leases.ts';
import type { EngineMessages } from './engines/messages.ts';
import type { SessionKeeper } from './keep/session-keeper.ts';
import type { Input, State, Step } from './machine/states.ts';
import type { SessionRecords } from './session-records.ts';

export interface SessionParts {
  readonly context: SessionContext;
  readonly connection: CallerConnection;
  readonly packets: CallerPackets;
  readonly engines: EngineLeases;
  readonly messages: EngineMessages;
  readonly records: SessionRecords;
  readonly deadlines: Deadlines;
  readonly keeper: SessionKeeper;
  state(): State;
  advance(input: Input): void;
  /** Goes on in another state without an input, and carries the actions out. Saves nothing. */
  take(step: Step): void;
}
