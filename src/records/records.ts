/**
 * Journal records of requests: the caller, the request, its target, its end. README.md describes how to search for them.
 *
 * Strings that a client or an engine may have chosen are made one line without control characters before they get here, or here.
 * Each goes into the journal as the value of one field; there, even a newline could not start another field.
 */
import type { AuthorizedRequest } from '../policy/authorize.ts';
import type { Consent } from '../policy/yama.ts';
import type { ConnectionUser, UserKey } from '../proc/connection-user.ts';
import type { SeenProcess } from '../proc/holders.ts';
import { type Fields, type Log, sanitize } from '../systemd/log.ts';
import { messageIds } from './record-kinds.ts';
import { type RecordClass, RecordLimiter } from './record-limiter.ts';
import type { Ended } from './request-totals.ts';
import type { Result, TreeState, Unfinished } from './vocabulary.ts';

/** Totals since the service started. */
export interface Totals {
  done: number;
  failed: number;
  refused: number;
}

/** The subject of a record. */
export interface Subject {
  /** The number of the session. */
  readonly session: number;
  /** The user whose limits the connection counts against. */
  readonly user: ConnectionUser;
}

/** The request, as far as it was decoded. */
export type Asked = Pick<AuthorizedRequest, 'name' | 'target'>;

export interface Finished {
  readonly request: Asked | undefined;
  readonly result: Result;
  /** Positive errno. */
  readonly errno: number | undefined;
  readonly reason: string | undefined;
  /** The root of a restored tree. */
  readonly restoredPid: number | undefined;
  /** From the look at the packet to the final reply. */
  readonly durationUsec: number | undefined;
  readonly enginePid: number | undefined;
  /** The cgroup in which the engine worked. */
  readonly cgroup: string | undefined;
  /** The scope of a restored tree. */
  readonly scope: string | undefined;
  /** The clocks that a restored tree of a user without root has. */
  readonly clocks?: 'dump' | 'caller' | undefined;
  /** Why the target let its engine trace it, where that was asked (src/policy/yama.ts). */
  readonly consent?: Consent | undefined;
  /** The kernel's name of our copy of the directory. */
  readonly imagesDir: string | undefined;
  /** For a failure: the last lines of the engine's stderr, and the last error lines of its log. */
  readonly stderr: readonly string[];
  readonly log: readonly string[];
}

/** The interval of records about dropped records. */
const droppedIntervalMs = 10_000;

/** The longest value of a field, in characters: an engine or a client may send a lot of text. */
const maxFieldLength = 4096;

export class Records {
  readonly totals: Totals = { done: 0, failed: 0, refused: 0 };
  readonly #log: Log;
  readonly #onEnded: (ended: Ended) => void;
  readonly #limiter = new RecordLimiter();
  #droppedTimer: NodeJS.Timeout | undefined;

  /** @param onEnded called for each request that has ended, after the totals include it. */
  constructor(log: Log, onEnded: (ended: Ended) => void) {
    this.#log = log;
    this.#onEnded = onEnded;
  }

  /**
   * Work begins. Probes (VERSION, FEATURE_CHECK) change nothing, so their record has the level debug.
   * @param shared a sentence about a directory of root's request that others can write.
   */
  accepted(
    subject: Subject,
    request: AuthorizedRequest,
    imagesDir: string | undefined,
    shared: string | undefined,
  ): void {
    const flaw = shared ?? request.warning;
    const level = isProbe(request) ? 'debug' : flaw === undefined ? 'info' : 'warning';
    const although = flaw === undefined ? '' : `, although ${flaw}`;
    this.#write(level, 'accepted', `${describe(subject, request)} accepted${although}`, subject, 'work', {
      ...requestFields(request),
      ...text('CRIU_IMAGES_DIR', imagesDir),
      ...text('CRIU_WARNING', shared ? `${shared}: ${whatOthersDecide(request)}` : request.warning),
    });
  }

  /** A session of an earlier start goes on. */
  resumed(subject: Subject, request: Asked | undefined): void {
    const message = `${describe(subject, request)} goes on after a restart`;
    this.#write('info', 'resumed', message, subject, 'work', requestFields(request));
  }

  /** The first try has met a pid of this service's own. @param reason a main clause. */
  triedAgain(subject: Subject, request: Asked | undefined, reason: string): void {
    const message = `${describe(subject, request)} is tried again: ${reason}`;
    this.#write('info', 'triedAgain', message, subject, 'work', {
      ...requestFields(request),
      CRIU_REASON: reason,
    });
  }

  /** The store has too little of a session, or a malformed state. */
  notResumed(session: number): void {
    this.#log.warning(`Session ${session} was lost with an earlier start of this service, and is closed`, {
      MESSAGE_ID: messageIds.notResumed,
      CRIU_SESSION: session,
    });
  }

  finished(subject: Subject, end: Finished): void {
    const { request, result, errno, reason, restoredPid, durationUsec, enginePid } = end;
    this.totals[result] += 1;
    const took = durationUsec === undefined ? '' : ` in ${(durationUsec / 1000).toFixed(1)} ms`;
    const why = reason === undefined ? '' : `: ${sanitize(reason).trim()}`;
    const allowed = end.consent === 'own' ? ', allowed by --yama=own' : '';
    const restored = restoredPid === undefined ? '' : `, process ${restoredPid}`;
    this.#write(
      result === 'done' ? 'info' : 'warning',
      result,
      `${describe(subject, request)} ${result}${restored}${took}${allowed}${why}`,
      subject,
      enginePid === undefined || (request !== undefined && isProbe(request)) ? 'talk' : 'work',
      {
        ...requestFields(request),
        CRIU_RESULT: result,
        ...number('CRIU_ERRNO', errno),
        ...text('CRIU_REASON', reason),
        ...number('CRIU_RESTORED_PID', restoredPid),
        ...number('CRIU_DURATION_USEC', durationUsec),
        ...number('CRIU_ENGINE_PID', enginePid),
        ...text('CRIU_CGROUP', end.cgroup),
        ...text('CRIU_SCOPE', end.scope),
        ...text('CRIU_CLOCKS', end.clocks),
        ...text('CRIU_CONSENT', end.consent),
        ...text('CRIU_IMAGES_DIR', end.imagesDir),
        ...lines('CRIU_ENGINE_STDERR', end.stderr),
        ...lines('CRIU_ENGINE_LOG', end.log),
      },
    );
    this.#onEnded({ request: request?.name, result, durationUsec });
  }

  /** A connection that never became a session. */
  turnedAway(user: ConnectionUser, errno: number, reason: string): void {
    this.totals.refused += 1;
    const subject = { session: 0, user };
    this.#write(
      'warning',
      'turnedAway',
      `A connection of ${nameOf(user.key)} refused: ${reason}`,
      subject,
      'talk',
      {
        CRIU_RESULT: 'refused',
        CRIU_ERRNO: errno,
        CRIU_REASON: reason,
      },
    );
    this.#onEnded({ request: undefined, result: 'refused', durationUsec: undefined });
  }

  /** The state of the tree of an operation that was cut off, after its engine has gone. */
  leftBehind(subject: Subject, { request, reason }: Unfinished, tree: TreeState): void {
    const [kind, level, how] = judge(tree);
    this.#write(
      level,
      kind,
      `${request.name} was cut off, and the tree of process ${request.target} ${how} (${sanitize(reason)})`,
      subject,
      'work',
      { ...requestFields(request), CRIU_TREE: tree.kind, ...text('CRIU_REASON', reason) },
    );
  }

  /** A leftover of an engine of this user was killed. */
  endedLeft({ pid, uid, cgroup }: SeenProcess): void {
    const message = `Ended process ${pid} of uid ${uid}, which an engine had left: ${sanitize(cgroup).trim()}`;
    this.#write('warning', 'endedLeft', message, nobodysRequest(uid), 'work', {
      CRIU_ENDED_PID: pid,
      ...text('CRIU_CGROUP', cgroup),
    });
  }

  /** A process that may be the leftover of an engine could not be read or killed. */
  notEnded({ pid, uid, cgroup, seen }: SeenProcess): void {
    const reason =
      typeof seen === 'object' && 'tid' in seen ? 'it cannot be ended' : 'it cannot be looked at';
    const message = `Process ${pid} of uid ${uid} may hold what an engine has left: ${reason}`;
    this.#write('error', 'unexpected', message, nobodysRequest(uid), 'work', {
      CRIU_REASON: message,
      ...text('CRIU_CGROUP', cgroup),
    });
  }

  /** A debug line for each step of a session. @param line called only if the line is written. */
  step({ session }: Subject, line: () => string): void {
    if (this.#log.most === 'debug')
      this.#log.debug(`Session ${session}: ${line()}`, { CRIU_SESSION: session });
  }

  /** A failure that no request should be able to cause. */
  unexpected(subject: Subject, error: unknown): void {
    const { message } = error as Error;
    const sentence = `Session ${subject.session}: ${sanitize(message)}`;
    this.#write('error', 'unexpected', sentence, subject, 'talk', text('CRIU_REASON', message));
  }

  /** Writes the pending records about dropped records. */
  close(): void {
    clearTimeout(this.#droppedTimer);
    this.#tellDropped();
  }

  #write(
    level: 'debug' | 'info' | 'warning' | 'error',
    kind: keyof typeof messageIds,
    message: string,
    subject: Subject,
    which: RecordClass,
    fields: Fields,
  ): void {
    if (!this.#limiter.admit(subject.user.key, which, performance.now())) {
      this.#droppedTimer ??= setTimeout(() => this.#tellDropped(), droppedIntervalMs).unref();
      return;
    }
    this.#log[level](message, { MESSAGE_ID: messageIds[kind], ...subjectFields(subject), ...fields });
  }

  #tellDropped(): void {
    this.#droppedTimer = undefined;
    for (const { user, count } of this.#limiter.takeDropped(performance.now())) {
      this.#log.warning(`${count} records of ${nameOf(user)} were not written: there were too many`, {
        MESSAGE_ID: messageIds.dropped,
        ...(user === 'strangers' ? {} : { CRIU_CALLER_UID: user }),
        CRIU_DROPPED: count,
      });
    }
  }
}

function isProbe(request: Asked): boolean {
  return request.name === 'VERSION' || request.name === 'FEATURE_CHECK';
}

function whatOthersDecide({ name }: Asked): string {
  return name === 'RESTORE' || name === 'CPUINFO_CHECK'
    ? 'whoever can write images decides what root restores'
    : "whoever can write there decides where root's CRIU writes, and may read it";
}

function judge(tree: TreeState): ['treeRuns' | 'treeHeld', 'info' | 'warning' | 'error', string] {
  switch (tree.kind) {
    case 'running':
      return ['treeRuns', 'info', 'runs on'];
    case 'gone':
      return ['treeHeld', 'warning', 'is gone'];
    case 'held':
      return ['treeHeld', 'error', `does not run: thread ${tree.thread} ${tree.how}`];
  }
}

function nameOf(user: UserKey): string {
  return user === 'strangers' ? 'callers in other namespaces' : `uid ${user}`;
}

/** The subject of a record about a user without a session. */
function nobodysRequest(uid: number): Subject {
  return { session: 0, user: { pid: 0, uid, key: uid, foreign: false } };
}

function describe({ user: { pid, uid } }: Subject, request: Asked | undefined): string {
  const who = pid === 0 ? 'a caller that cannot be seen' : `pid ${pid} (uid ${uid})`;
  if (!request) return `Request of ${who}`;
  const target = request.target === undefined ? '' : ` of process ${request.target}`;
  return `${request.name}${target} for ${who}`;
}

function subjectFields({ session, user: { pid, uid } }: Subject): Fields {
  return {
    ...(session === 0 ? {} : { CRIU_SESSION: session }),
    ...(pid === 0 ? {} : { CRIU_CALLER_PID: pid }),
    CRIU_CALLER_UID: uid,
  };
}

function requestFields(request: Asked | undefined): Fields {
  return {
    ...(request ? { CRIU_REQUEST: request.name } : {}),
    ...number('CRIU_TARGET_PID', request?.target),
  };
}

function number(name: string, value: number | undefined): Fields {
  return value === undefined ? {} : { [name]: value };
}

function text(name: string, value: string | undefined): Fields {
  return value === undefined ? {} : { [name]: sanitize(value).trim().slice(0, maxFieldLength) };
}

/** A field of several lines; each line is sanitized by itself. */
function lines(name: string, value: readonly string[]): Fields {
  return value.length === 0 ? {} : { [name]: value.map(sanitize).join('\n').slice(0, maxFieldLength) };
}
