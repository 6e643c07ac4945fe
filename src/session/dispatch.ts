/**
 * Gives a request to an engine: gets the engine, lets the store know it, sends the request. delivery.ts has the order in which a
 * kill of this service does no harm.
 */
import { constants as os } from 'node:os';
import type { AuthorizedRequest } from '../policy/authorize.ts';
import { stillStands } from './caller/judge.ts';
import { identityFor } from './caller/known-caller.ts';
import { Loan } from './engines/loan.ts';
import { notStarted } from './engines/start.ts';
import { keep, keepEngine } from './keep/keeping.ts';
import type { Action } from './machine/states.ts';
import type { SessionParts } from './parts.ts';

type Do<Name extends Action['do']> = Extract<Action, { do: Name }>;

/** The caller has changed since it was judged: a program that it executed may have given the engine more rights (TOCTOU). */
class CallerChangedError extends Error {
  override readonly name = 'CallerChangedError';
  readonly errno = os.errno.EPERM;

  constructor() {
    super('The calling process has become something else meanwhile');
  }
}

export class Dispatch {
  readonly #parts: SessionParts;
  /** The request, as rewritten for its engine. */
  #bytes: Uint8Array = Buffer.alloc(0);

  constructor(parts: SessionParts) {
    this.#parts = parts;
  }

  /** @returns true if a stored answer made an engine unnecessary. */
  start(action: Do<'start-engine'>): boolean {
    const { messages, packets } = this.#parts;
    const { request, plan, fresh } = action;
    const known = fresh ? messages.takeKnown(request, plan, packets.judged.data) : undefined;
    if (known === undefined) this.#getEngine(action).catch((error) => this.#notStarted(request, error));
    else this.#parts.advance({ on: 'answered', success: known });
    return known !== undefined;
  }

  /** Offers the request to another engine. */
  restart({ request }: Do<'restart-engine'>): void {
    this.#parts.engines.replace(request).then(
      () => {
        keepEngine(this.#parts);
        this.#whenKept(() => this.#parts.advance({ on: 'engine-ready' }));
      },
      (error) => this.#notStarted(request, error),
    );
  }

  send(): void {
    this.#parts.engines.offer(this.#bytes);
  }

  handOver({ request, engine }: Do<'hand-over'>): void {
    const { records, connection, engines, keeper, packets } = this.#parts;
    records.accepted(request);
    // The engine reads the packet from the queue itself. CRIU recognizes its own connection by the socket's inode.
    const fd = connection.handOver();
    keeper.becomes = engine.is === 'confined' ? identityFor(engine.as) : undefined;
    // The next start must not take the engine of the previous request for the engine of this one.
    engines.setAside();
    keep(this.#parts);
    this.#whenKept(() =>
      this.#holdCallersEnd()
        .then(() => engines.handOver({ request, engine }, fd, packets.judged.data.length))
        .then(
          () => keepEngine(this.#parts),
          (error) => this.#notStarted(request, error),
        ),
    );
  }

  async #holdCallersEnd(): Promise<void> {
    const { connection, packets, records } = this.#parts;
    try {
      if (packets.caller) await connection.holdCallersEnd(packets.caller);
    } catch (error) {
      // A caller that has gone has nothing to copy, and its dump fails by itself.
      if (packets.caller?.isThere) records.unexpected(error);
    }
  }

  async #getEngine({ request, plan, engine, fresh }: Do<'start-engine'>): Promise<void> {
    const { context, records, engines, keeper, packets } = this.#parts;
    const packet = packets.judged.data;
    const loan = new Loan(packets.caller, plan);
    records.accepted(request, loan);
    const order = { request, engine };
    const opened = fresh ? await engines.relay(order, plan, loan, packet.length) : {};
    if (!fresh) await engines.reuse(order, loan);
    keepEngine(this.#parts);
    if (keeper.waits) await keeper.waits;
    if (engine.is === 'confined' && !(await stillStands(context, engine.as))) throw new CallerChangedError();
    this.#bytes = loan.rewrite(packet, opened);
    this.#parts.advance({ on: 'engine-ready' });
  }

  /** Waits until the store has everything: no engine may begin before that. If systemd is slow to read, a thread writes to it. */
  #whenKept(then: () => void): void {
    const { waits } = this.#parts.keeper;
    if (waits) waits.then(then);
    else then();
  }

  #notStarted(request: AuthorizedRequest, error: unknown): void {
    this.#parts.advance(notStarted(request, error, this.#parts.engines.running));
  }
}
