/** criuctl images show, verify, decode */
import { circumstances } from './circumstances.ts';
import { exitCodes } from './exit-codes.ts';
import { type Invocation, Obstacle, type Outcome } from './invocation.ts';
import { userName } from './people.ts';
import { processOrThread, type Taken } from './taken-pid.ts';

type Images = typeof import('./images/images.ts');

export async function run({ action, path }: Invocation): Promise<Outcome> {
  // A file of its own: other verbs start without it.
  const images = await import('./images/images.ts');
  if (action === 'decode') {
    if (path === undefined)
      throw new Obstacle(exitCodes.usage, 'Which image? Say criuctl images decode FILE');
    return decode(path, images);
  }
  const directory = path ?? '.';
  return opened(directory, () => (action === 'verify' ? verify(directory, images) : show(directory, images)));
}

function show(directory: string, images: Images): Outcome {
  const { text, json, faults } = images.show(directory, userName);
  return { sentence: text, value: text, json, exitCode: faults > 0 ? exitCodes.failed : exitCodes.done };
}

function verify(directory: string, images: Images): Outcome {
  const { text, json, restores } = images.verify(directory, circumstances(), { processOf, userName });
  return { sentence: text, value: text, json, exitCode: restores ? exitCodes.done : exitCodes.refused };
}

function processOf(pid: number): ReturnType<Parameters<Images['verify']>[2]['processOf']> {
  const taken = processOrThread(pid);
  if (!taken) return undefined;
  const as = taken.kind === 'thread' || taken.kind === 'service' ? taken.kind : 'process';
  return { as, by: holderIn(taken) };
}

function holderIn(taken: Taken): { pid: number; name: string; user: string } | undefined {
  switch (taken.kind) {
    case 'process':
    case 'thread':
      return taken.process;
    case 'zombie':
      return taken.parent;
    default:
      return undefined;
  }
}

/** Piece by piece: an image may be larger than memory. */
function decode(path: string, { decodeFile }: Images): Outcome {
  const fault = opened(path, () => decodeFile(path, (text) => process.stdout.write(text)));
  if (fault !== undefined) throw new Obstacle(exitCodes.failed, fault);
  return { sentence: '', value: '', json: undefined };
}

function opened<T>(path: string, use: () => T): T {
  try {
    return use();
  } catch (error) {
    const { code, message, syscall } = error as NodeJS.ErrnoException;
    if (code === undefined || syscall !== 'open') throw error;
    throw new Obstacle(exitCodes.directory, `Cannot open ${path}: ${message.split(', ')[0]}`);
  }
}
