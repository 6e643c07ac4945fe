/** The restore of a tree whose standard streams were lost: a file, or a stream of criuctl's own, takes the place of each. */
import { type Stats, statSync } from 'node:fs';
import type { RestoreOptions } from '../../client/options.ts';
import type { OwnedFd } from '../../native/binding.ts';
import { atNewFile, type Places } from '../directories.ts';
import { exitCodes } from '../exit-codes.ts';
import { type Invocation, Obstacle } from '../invocation.ts';
import { openInput, openOutput } from '../terminal/output-file.ts';
import type { Stream, StreamView } from './stream-view.ts';

/** The option's value for criuctl's own stream. */
const own = '-';

const optionOf = ['--stdin', '--stdout', '--stderr'] as const;

export class StreamRequest {
  /** The directories for the request. */
  readonly places: Places;
  readonly #view: Extract<StreamView, { is: 'view' }>;
  readonly #opened: readonly OwnedFd[];
  readonly #inherited: NonNullable<RestoreOptions['inheritFd']>;

  /**
   * @returns undefined if no stream gets another file.
   * @throws Obstacle, CriuError; before the service gets a request.
   */
  static async for(invocation: Invocation, places: Places): Promise<StreamRequest | undefined> {
    const { stdin, stdout, stderr } = invocation.own;
    const given = [stdin, stdout, stderr].flatMap((value, stream) =>
      value === undefined ? [] : [[stream as Stream, value] as const],
    );
    if (given.length === 0) return undefined;
    const { keyOf, streamNames, streamViewOf } = await import('./stream-view.ts');
    const opened: OwnedFd[] = [];
    try {
      const files = given.map(([stream, value]) => {
        if (value === own) return { key: keyOf(stream), fd: stream };
        const file = openFor(invocation, stream, value);
        opened.push(file);
        return { key: keyOf(stream), fd: file.number };
      });
      const view = streamViewOf(
        places,
        given.map(([stream]) => stream),
      );
      if (view.is === 'view') return new StreamRequest(places, view, opened, files);
      throw view.is === 'refused'
        ? new Obstacle(
            exitCodes.refused,
            `RESTORE refused: ${optionOf[view.stream]}: the program's ${streamNames[view.stream]} ${view.why}`,
            'Restore it without this option',
          )
        : new Obstacle(exitCodes.refused, `RESTORE refused: the images in ${places.images} cannot be read`);
    } catch (error) {
      for (const fd of opened) fd.close();
      throw error;
    }
  }

  private constructor(
    places: Places,
    view: Extract<StreamView, { is: 'view' }>,
    opened: readonly OwnedFd[],
    inherited: NonNullable<RestoreOptions['inheritFd']>,
  ) {
    this.places = { images: view.path, work: places.work };
    this.#view = view;
    this.#opened = opened;
    this.#inherited = inherited;
  }

  /** The request with the images that name the other files. */
  with<T extends RestoreOptions>(request: T): T {
    return {
      ...request,
      imagesDir: this.#view.path,
      workDir: request.workDir ?? request.imagesDir,
      inheritFd: [...(request.inheritFd ?? []), ...this.#inherited],
    };
  }

  /** Call this after the restore. */
  release(): void {
    this.#view.remove();
    for (const fd of this.#opened) fd.close();
  }
}

/** @throws Obstacle, CriuError */
function openFor(invocation: Invocation, stream: Stream, name: string): OwnedFd {
  return atNewFile(invocation, name, (path) => openAt(path, stream, name));
}

/** @throws Obstacle */
function openAt(path: string, stream: Stream, name: string): OwnedFd {
  const kind = statSync(path, { throwIfNoEntry: false });
  const obstacle = kind && obstacleOf(kind);
  if (obstacle !== undefined) {
    throw new Obstacle(
      exitCodes.usage,
      `${name} is ${obstacle}, and ${optionOf[stream]} takes a file`,
      `Redirect criuctl's own stream, and say ${optionOf[stream]} -`,
    );
  }
  return stream === 0 ? openInput(path) : openOutput(path);
}

/** An open of a pipe waits for its other end. */
function obstacleOf(kind: Stats): string | undefined {
  if (kind.isFIFO()) return 'a named pipe';
  if (kind.isDirectory()) return 'a directory';
  if (kind.isSocket()) return 'a socket';
  return undefined;
}
