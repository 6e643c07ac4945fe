/** criuctl images, and the look at images before a restore: a bundle of its own, without which other verbs start. */
import { ImageError } from '../../images/image-error.ts';
import type { Machine } from '../../images/machine.ts';
import { ManifestError } from '../../images/manifest/format.ts';
import { UnmergeableError } from '../../images/merge.ts';
import { circumstances } from '../circumstances.ts';
import { exitCodes } from '../exit-codes.ts';
import { type Invocation, Obstacle, type Outcome } from '../invocation.ts';
import { userName } from '../people.ts';
import { processOrThread, type Taken } from '../pid-holder.ts';
import * as actions from './actions.ts';
import { atRest, distrustOf, type Way } from './at-rest.ts';
import { restedAsJson, restedInWords } from './at-rest-words.ts';
import { Output, ReaderGone } from './output.ts';

export { incompleteness } from './actions.ts';
export { compressDump, compressedDirectories, expandChain } from './at-rest.ts';
export { sumOf } from './at-rest-words.ts';

export async function run(invocation: Invocation): Promise<Outcome> {
  const { action, path, other, own } = invocation;
  if (action === 'decode') {
    if (path === undefined)
      throw new Obstacle(exitCodes.usage, 'Which image? Say criuctl images decode FILE');
    return decode(path);
  }
  if (action === 'compare' && (path === undefined || other === undefined))
    throw new Obstacle(exitCodes.usage, 'Which images? Say criuctl images compare DIR LATER-DIR');
  if (action === 'merge') {
    if (path === undefined || other === undefined)
      throw new Obstacle(exitCodes.usage, 'Which images? Say criuctl images merge DIR NEW-DIR');
    return merge(path, other, own.digestPages);
  }
  if (action === 'prune' && !own.keep)
    throw new Obstacle(
      exitCodes.usage,
      'How many dumps are to be kept? Say criuctl images prune DIR --keep N',
    );
  const directory = path ?? '.';
  if (action === 'verify') return openedLater(directory, () => verify(directory, own.trustImages));
  if (action === 'compress' || action === 'expand')
    return openedLater(directory, () => rest(action, directory, invocation));
  return opened(directory, () => {
    switch (action) {
      case 'compare':
        return told(actions.compare(directory, other!));
      case 'size':
        return told(actions.size(directory));
      case 'prune':
        return told(actions.prune(directory, own.keep!, own.dryRun));
      default:
        return told(actions.show(directory, userName));
    }
  });
}

function told({ text, json, faults }: actions.Told): Outcome {
  return { sentence: text, value: text, json, exitCode: faults > 0 ? exitCodes.failed : exitCodes.done };
}

const mostNamed = 5;

async function merge(path: string, to: string, digestPages: boolean): Promise<Outcome> {
  try {
    return told(await actions.merge(path, to, circumstances(), digestPages));
  } catch (error) {
    if (error instanceof UnmergeableError) {
      const [first, ...others] = error.whys;
      throw new Obstacle(exitCodes.refused, `MERGE refused: ${first}`, ...others.slice(0, mostNamed));
    }
    if (error instanceof ManifestError)
      throw new Obstacle(exitCodes.failed, `Nothing was merged: manifest.json ${error.message}`);
    if (error instanceof ImageError)
      throw new Obstacle(exitCodes.failed, `Nothing was merged: ${error.message}`);
    const { code, message, syscall, path: named = path } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    if (syscall === 'open' && named === path)
      throw new Obstacle(exitCodes.directory, `Cannot open ${path}: ${message.split(', ')[0]}`);
    throw new Obstacle(exitCodes.failed, `Nothing was merged: ${message}`);
  }
}

async function rest(way: Way, directory: string, invocation: Invocation): Promise<Outcome> {
  const rested = await atRest(way, directory, invocation);
  return told({ text: restedInWords(rested, way), json: restedAsJson(rested, way), faults: 0 });
}

async function verify(directory: string, trustImages: boolean): Promise<Outcome> {
  const { text, json, restores } = await actions.verify(
    directory,
    circumstances(),
    { processOf, userName },
    ({ path }) => (trustImages ? undefined : distrustOf(path)),
  );
  return { sentence: text, value: text, json, exitCode: restores ? exitCodes.done : exitCodes.refused };
}

function processOf(pid: number): ReturnType<Machine['processOf']> {
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
function decode(path: string): Outcome {
  const output = new Output();
  const done: Outcome = { sentence: '', value: '', json: undefined };
  try {
    const fault = opened(path, () => actions.decodeFile(path, (text) => output.write(text)));
    output.flush();
    if (fault !== undefined) throw new Obstacle(exitCodes.failed, fault);
    return done;
  } catch (error) {
    if (error instanceof ReaderGone) return done;
    throw error;
  }
}

function opened<T>(path: string, use: () => T): T {
  try {
    return use();
  } catch (error) {
    throw unopened(path, error);
  }
}

async function openedLater<T>(path: string, use: () => Promise<T>): Promise<T> {
  try {
    return await use();
  } catch (error) {
    throw unopened(path, error);
  }
}

function unopened(path: string, error: unknown): unknown {
  const { code, message, syscall, path: named = path } = error as NodeJS.ErrnoException;
  if (code === undefined || syscall !== 'open') return error;
  return new Obstacle(
    exitCodes.directory,
    `Cannot open ${named.startsWith('/proc/') ? path : named}: ${message.split(', ')[0]}`,
  );
}
