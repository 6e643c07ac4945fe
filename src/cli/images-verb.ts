/** criuctl images show, criuctl images decode */
import { exitCodes } from './exit-codes.ts';
import { type Invocation, Obstacle, type Outcome } from './invocation.ts';
import { userName } from './people.ts';

export async function run({ action, path }: Invocation): Promise<Outcome> {
  // A file of its own: other verbs start without it.
  const images = await import('./images/images.ts');
  if (action === 'decode') {
    if (path === undefined)
      throw new Obstacle(exitCodes.usage, 'Which image? Say criuctl images decode FILE');
    return decode(path, images);
  }
  const directory = path ?? '.';
  const { text, json, faults } = opened(directory, () => images.show(directory, userName));
  return { sentence: text, value: text, json, exitCode: faults > 0 ? exitCodes.failed : exitCodes.done };
}

/** Piece by piece: an image may be larger than memory. */
function decode(path: string, { decodeFile }: typeof import('./images/images.ts')): Outcome {
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
