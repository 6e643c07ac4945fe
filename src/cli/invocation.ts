/** What a command line asks for, and what a verb answers. */
import type { CriuClient } from '../client/client.ts';
import type { AnyOptions } from '../client/options.ts';
import type { Verb } from './option-table.ts';

/** What criuctl uses itself, and does not send. */
export interface OwnOptions {
  readonly json: boolean;
  /** Undefined: where the service of this machine listens. */
  readonly service: string | undefined;
  readonly trustImages: boolean;
  readonly displayStats: boolean;
  readonly pidfile: string | undefined;
  /** How many requests `status` shows. */
  readonly lines: number;
}

export interface Invocation {
  readonly verb: Verb;
  /** `dump` or `check` of cpuinfo. */
  readonly action?: string | undefined;
  /** For the request. */
  readonly options: AnyOptions;
  readonly own: OwnOptions;
  readonly signal: AbortSignal;
  /** Standard error is a terminal, and nobody asked for JSON: there is somebody to watch. */
  readonly watched: boolean;
  /** Made when it is needed: `status` asks systemd only. */
  client(): CriuClient;
}

/** What a verb ends with, for the three kinds of reader. */
export interface Outcome {
  /** For a person at a terminal. */
  readonly sentence: string;
  /** For a shell: the bare result, and nothing where the exit status says it all. */
  readonly value: string;
  /** For a program (--json). */
  readonly json: object;
  /** For a person at a terminal, and for whoever asked with --display-stats. */
  readonly summary?: readonly string[];
  /** Where the answer itself is one that a script asks for; else 0. */
  readonly exitCode?: number;
}

/** Something that criuctl itself finds before anybody is asked. */
export class Obstacle extends Error {
  override readonly name = 'Obstacle';
  readonly exitCode: number;
  readonly advice: readonly string[];

  constructor(exitCode: number, message: string, ...advice: string[]) {
    super(message);
    this.exitCode = exitCode;
    this.advice = advice;
  }
}
