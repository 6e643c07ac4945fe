/** An engine that the launcher starts and the tests talk to: probe.c with the library. */
import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { chmodSync, constants, copyFileSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  decodeAnswer,
  encodeParameters,
  type LaunchAnswer,
  type LaunchParameters,
  launcherFds,
  maxAnswerBytes,
} from '../../../src/engine/launcher-protocol.ts';
import {
  type ExitStatus,
  native,
  type OwnedFd,
  type Process,
  type SeqpacketSocket,
} from '../../../src/native/binding.ts';
import { packetsOf, type TestCaller, type Workshop } from '../launcher/support.ts';

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const source = here('../../../native/engine-preload/preload.cc');
const built = here('../../../native/build/Release/criu-engine-preload.node');

/** Compiles a program of this directory as `name`. */
export function compileProbe(workshop: Workshop, name: string, ...flags: string[]): string {
  const file = workshop.path(name);
  execFileSync(
    'gcc',
    ['-O1', '-D_FILE_OFFSET_BITS=64', '-Wall', '-Wextra', '-Werror', '-o', file, here('probe.c'), ...flags],
    { stdio: 'inherit' },
  );
  return file;
}

/** A library whose constructor runs before ours; a program that links it needs these flags. */
export function compileEarly(workshop: Workshop): string[] {
  const file = workshop.path('libearly.so');
  execFileSync('gcc', ['-O1', '-Wall', '-Werror', '-fPIC', '-shared', '-o', file, here('early.c')], {
    stdio: 'inherit',
  });
  return ['-Wl,--no-as-needed', file];
}

/** The installed library, in a place where the caller can read it. */
export function builtPreload(workshop: Workshop): string {
  const file = workshop.path('preload.so');
  copyFileSync(built, file);
  chmodSync(file, 0o644);
  return file;
}

/** The library without a guarantee, to show that the tests notice its absence. */
export function brokenPreload(workshop: Workshop, flag: string): string {
  const file = workshop.path(`${flag}.so`);
  execFileSync(
    'g++',
    ['-std=c++20', '-O1', '-D_GNU_SOURCE', `-D${flag}`, '-fPIC', '-shared', '-fvisibility=hidden'].concat(
      '-o',
      file,
      source,
    ),
    { stdio: 'inherit' },
  );
  return file;
}

export class TestEngine {
  readonly pid: number;
  readonly answers: readonly LaunchAnswer[];
  readonly exit: Promise<ExitStatus>;
  readonly #process: Process;
  readonly #socket: SeqpacketSocket;
  readonly #packets: AsyncGenerator<{ data: Buffer; fds: OwnedFd[] }>;

  private constructor(
    process: Process,
    socket: SeqpacketSocket,
    answers: readonly LaunchAnswer[],
    exit: Promise<ExitStatus>,
  ) {
    this.#process = process;
    this.pid = process.pid;
    this.#socket = socket;
    this.#packets = packetsOf(socket, 1 << 16);
    this.answers = answers;
    this.exit = exit;
  }

  /** Resolves after the last answer of the launcher and the library. */
  static async start(
    launcher: string,
    caller: TestCaller,
    parameters: LaunchParameters,
  ): Promise<TestEngine> {
    const { ours: control, theirs } = native.socketpair();
    const devNull = native.open('/dev/null', constants.O_RDWR);
    const process = native.spawn({
      file: launcher,
      argv: ['criu-launcher'],
      env: [],
      fds: [
        { source: devNull, target: 0 },
        { source: devNull, target: 1 },
        { source: devNull, target: launcherFds.stderr },
        { source: theirs, target: launcherFds.control },
        { source: caller.pidfd, target: launcherFds.callerPidfd },
        { source: caller.procDirectory, target: launcherFds.callerProc },
      ],
    });
    theirs.close();
    devNull.close();
    const exit = new Promise<ExitStatus>((resolve) => process.onExit(resolve));
    assert.ok(control.send(encodeParameters(parameters)));
    const answers: LaunchAnswer[] = [];
    let socket: SeqpacketSocket | undefined;
    for await (const packet of packetsOf(control, maxAnswerBytes)) {
      answers.push(decodeAnswer(packet.data));
      for (const fd of packet.fds) socket = native.adopt(fd);
    }
    control.close();
    assert.ok(
      socket,
      `there is no engine: ${JSON.stringify(answers.map((answer) => ({ ...answer, value: undefined })))}`,
    );
    return new TestEngine(process, socket, answers, exit);
  }

  /** The engine's answer to a command of probe.c. */
  async ask(command: string): Promise<string> {
    assert.ok(this.#socket.send(Buffer.from(command)));
    const { value, done } = await this.#packets.next();
    if (done) throw new Error(`the engine ended at ${command}: ${JSON.stringify(await this.exit)}`);
    return value.data.toString();
  }

  /** The same as a number: a result, or a negative errno. */
  async number(command: string): Promise<number> {
    const text = await this.ask(command);
    assert.match(text, /^-?\d+$/, command);
    return Number(text);
  }

  async kill(): Promise<void> {
    this.#process.signal(9);
    await this.exit;
  }

  /** Ends the engine, if it still runs, and releases it. */
  async end(): Promise<void> {
    await this.kill();
    this.#process.close();
    this.#socket.close();
  }
}

/** The capability sets of a process, as the kernel tells them. */
export interface Held {
  readonly inheritable: boolean;
  readonly permitted: boolean;
  readonly effective: boolean;
  readonly ambient: boolean;
}

/** Tells for each set of a process whether it has CAP_CHECKPOINT_RESTORE. */
export function heldBy(pid: number): Held {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  const has = (name: string): boolean =>
    ((BigInt(`0x${new RegExp(`^${name}:\\s*([0-9a-f]+)$`, 'm').exec(status)![1]}`) >> 40n) & 1n) === 1n;
  return {
    inheritable: has('CapInh'),
    permitted: has('CapPrm'),
    effective: has('CapEff'),
    ambient: has('CapAmb'),
  };
}
