/** People at terminals (clients/session.py), and programs that run at a terminal. */
import { type ChildProcess, spawn } from 'node:child_process';
import { as, type User } from '../../hostile/support/people.ts';
import { eventually, run, script } from './bench.ts';
import { childrenOf, endProcess, isAlive, statusLine } from './proc.ts';

/** A step of clients/session.py. */
export type Step =
  | readonly ['expect', string]
  | readonly ['type', string]
  | readonly ['press', string, string]
  | readonly ['size', number, number]
  | readonly ['signal', number]
  | readonly ['hang-up'];

export interface Seen {
  /** The exit status of the command; -15 if SIGTERM has ended it. */
  readonly status: number | null;
  readonly screen: string;
  /** What was expected in vain. */
  readonly missed?: string;
}

/** A user starts a command at a new terminal, and does these steps. */
export function atTerminal(user: User, steps: readonly Step[], ...command: string[]): Seen {
  const [file, ...rest] = ['/usr/bin/python3', script('session.py'), JSON.stringify(steps)];
  return JSON.parse(run(file!, ...rest, ...as(user), ...command));
}

/** As {@link atTerminal}, while the test goes on. */
export function atTerminalMeanwhile(user: User, steps: readonly Step[], ...command: string[]): Promise<Seen> {
  const argv = [script('session.py'), JSON.stringify(steps), ...as(user), ...command];
  const person = spawn('/usr/bin/python3', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  person.stdout.setEncoding('utf8').on('data', (more: string) => {
    text += more;
  });
  return new Promise((resolve) => person.once('close', () => resolve(JSON.parse(text))));
}

/** A program at a terminal whose other end is script(1). */
export class Program {
  readonly #script: ChildProcess;
  readonly pid: number;

  private constructor(script: ChildProcess, pid: number) {
    this.#script = script;
    this.pid = pid;
  }

  /**
   * @param keys are typed to it.
   * @param name the name of the process to find: the program, or a descendant of it.
   */
  static async start(
    user: User,
    options: readonly string[],
    command: string,
    name: string,
    keys = '',
  ): Promise<Program> {
    const [file, ...rest] = [...as(user, ...options), 'script', '-qec', `exec ${command}`, '/dev/null'];
    const script = spawn(file!, rest, {
      stdio: ['pipe', 'ignore', 'ignore'],
      env: { ...process.env, TERM: 'xterm' },
    });
    script.stdin!.write(keys);
    let pid: number | undefined;
    await eventually(`${name} runs`, () => {
      pid = descendants(script.pid!).find((each) => statusLine(each, 'Name') === name);
      return pid !== undefined;
    });
    return new Program(script, pid!);
  }

  type(keys: string): void {
    this.#script.stdin!.write(keys);
  }

  /** Takes its terminal away, and ends the program if it runs. */
  end(): void {
    for (const pid of [...descendants(this.#script.pid!), this.pid]) if (isAlive(pid)) endProcess(pid);
    this.#script.kill('SIGKILL');
  }
}

function descendants(pid: number): number[] {
  return childrenOf(pid).flatMap((child) => [child, ...descendants(child)]);
}
