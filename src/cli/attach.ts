/** criuctl attach: gives a program without a person the terminal that criuctl was started at. */
import { type NativeError, native } from '../native/binding.ts';
import { exitCodes } from './exit-codes.ts';
import { type Invocation, Obstacle, type Outcome } from './invocation.ts';
import { attachableJob } from './job-verbs.ts';
import { converse, howToLeave } from './terminal/conversation.ts';
import { socketsOf } from './terminal/holder-address.ts';
import { isAtTerminal } from './terminal/own-terminal.ts';
import { HolderConnection } from './terminal/packets.ts';

export async function run(invocation: Invocation): Promise<Outcome> {
  const { verb, options } = invocation;
  if (!isAtTerminal()) {
    throw new Obstacle(
      exitCodes.usage,
      'attach gives the program a terminal, and criuctl was not started at one',
    );
  }
  const named = options as { readonly pid?: number };
  const job = named.pid === undefined ? await attachableJob(invocation) : undefined;
  const pid = named.pid ?? job!.pid;
  const connection = connectTo(pid);
  const lent = await connection.next();
  if (lent?.kind === 'busy') {
    throw new Obstacle(
      exitCodes.refused,
      `Process ${pid} has a terminal already: criuctl with pid ${lent.pid} is at it`,
      'Leave it there with Ctrl-] d',
    );
  }
  const [terminal, file] = lent?.fds ?? [];
  if (lent?.kind !== 'lend' || !terminal) throw nothingHeld(pid);
  const back = (written: Uint8Array): void => connection.send({ kind: 'back', pid, bytes: written });
  let left = false;
  const outcome = await converse({
    pid,
    master: native.adoptTerminal(terminal),
    written: lent.bytes,
    file,
    lines: [`Process ${pid} runs at this terminal; ${howToLeave}`],
    json: { verb, pid },
    keep: async (written) => {
      back(written);
      left = true;
    },
    hungUp: back,
  });
  return job && !left ? job.outcome() : outcome;
}

/** @throws Obstacle if no terminal of this process waits for a person. */
function connectTo(pid: number): HolderConnection {
  for (const path of socketsOf(pid)) {
    try {
      return HolderConnection.to(path);
    } catch (error) {
      const { code } = error as NativeError;
      if (code !== 'ENOENT' && code !== 'ECONNREFUSED')
        throw new Obstacle(exitCodes.failed, `cannot connect to ${path}: ${(error as Error).message}`);
    }
  }
  throw nothingHeld(pid);
}

function nothingHeld(pid: number): Obstacle {
  return new Obstacle(
    exitCodes.refused,
    `no terminal of a process ${pid} waits for you`,
    'Terminals wait after "criuctl restore --terminal=none", and after Ctrl-] d, for the user who restored the program, until it ends',
  );
}
