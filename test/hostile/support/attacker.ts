/** A process of some user that obeys a test, one system call at a time (clients/attacker.c). */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { decodeResponse, encodeRequest } from '../../../src/protocol/codec.ts';
import type { CriuReq, CriuResp } from '../../../src/protocol/messages.ts';
import { binary } from '../../system/support/bench.ts';
import { as, type User } from './people.ts';

const running = new Set<Attacker>();

/** The number of the connection in an attacker, unless a test gives another number. */
export const connection = 100;

export interface AttackerOptions {
  /** Starts the attacker in place of the ordinary way into that user's rights. */
  readonly under?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A system call of an attacker failed. */
export class AttackFailed extends Error {
  override readonly name = 'AttackFailed';
  readonly errno: number;

  constructor(what: string, errno: number) {
    super(`${what} failed with errno ${errno}`);
    this.errno = errno;
  }
}

export class Attacker {
  readonly #child: ChildProcess;
  /** Not its standard input: Node closes that when the first process ends. */
  readonly #commands: Writable;
  readonly #answers: string[] = [];
  readonly #waiting: ((answer: string | undefined) => void)[] = [];
  #ended = false;

  /**
   * Started by root, so that `under` can be any command; the default gives the process the rights of the user's ordinary login.
   */
  constructor(user: User, { under = as(user), env = {} }: AttackerOptions = {}) {
    const [file, ...argv] = [...under, binary('attacker')];
    this.#child = spawn(file!, argv, {
      stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
      cwd: '/',
      env: { PATH: process.env.PATH, ...env },
    });
    this.#commands = this.#child.stdio[3] as Writable;
    createInterface({ input: this.#child.stdout as Readable }).on('line', (line) => {
      const waiting = this.#waiting.shift();
      if (waiting) waiting(line);
      else this.#answers.push(line);
    });
    this.#child.on('close', () => {
      this.#ended = true;
      for (const waiting of this.#waiting.splice(0)) waiting(undefined);
    });
    // The attacker may have been killed: then there is no answer.
    this.#commands.on('error', () => {});
    running.add(this);
  }

  /** The pid of the first process. After `fork`, or in a pid namespace, another process obeys. */
  get pid(): number {
    return this.#child.pid!;
  }

  /** @returns the value of its answer. @throws AttackFailed */
  async do(verb: string, ...words: (string | number)[]): Promise<string> {
    this.#commands.write(`${[verb, ...words].join(' ')}\n`);
    const answer = await this.#answer();
    if (answer === undefined) {
      const { exitCode, signalCode } = this.#child;
      throw new Error(`The attacker ended at ${verb} (${signalCode ?? exitCode})`);
    }
    const [kind, value = ''] = answer.split(' ');
    if (kind !== 'ok')
      throw new AttackFailed(`${verb} ${words.slice(0, 3).join(' ').slice(0, 200)}`, Number(value));
    return value;
  }

  /** Sends several commands in one write, so that as little time as possible passes between them. */
  async rush(...lines: string[]): Promise<void> {
    this.#commands.write(lines.map((line) => `${line}\n`).join(''));
    for (const line of lines) {
      const answer = await this.#answer();
      if (!answer?.startsWith('ok')) throw new Error(`${line.slice(0, 200)}: ${answer}`);
    }
  }

  connect(address: string): Promise<string> {
    return this.do('connect', connection, address);
  }

  send(message: CriuReq | Uint8Array, ...passing: number[]): Promise<string> {
    return this.do('send', connection, hex(message), ...passing);
  }

  /** The next message, or the end of the connection. */
  async receive(): Promise<CriuResp | 'closed'> {
    const answer = await this.do('receive', connection);
    if (answer === 'closed') return answer;
    const decoded = decodeResponse(Buffer.from(answer, 'hex'), 'lenient');
    if (decoded.kind === 'malformed') throw new Error(decoded.reason);
    return decoded.message;
  }

  /** Connects, sends a request and receives its reply. */
  async ask(message: CriuReq | Uint8Array, address: string): Promise<CriuResp | 'closed'> {
    await this.connect(address);
    await this.send(message);
    return this.receive();
  }

  end(): Promise<void> {
    running.delete(this);
    this.#commands.destroy();
    this.#child.kill('SIGKILL');
    return new Promise((resolve) => {
      if (this.#ended) resolve();
      else this.#child.once('close', () => resolve());
    });
  }

  #answer(): Promise<string | undefined> {
    const answer = this.#answers.shift();
    if (answer !== undefined || this.#ended) return Promise.resolve(answer);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

export function hex(message: CriuReq | Uint8Array): string {
  return Buffer.from(message instanceof Uint8Array ? message : encodeRequest(message)).toString('hex');
}

export async function endAttackers(): Promise<void> {
  await Promise.all([...running].map((attacker) => attacker.end()));
}
