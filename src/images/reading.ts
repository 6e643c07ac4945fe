/** Reads images of a directory to their end, and keeps their faults: a broken image is a finding, and the others are read on. */
import type { Fault } from './fault.ts';
import type { ImageDirectory } from './image-directory.ts';
import { ImageError } from './image-error.ts';
import { ImageFile, type ImageRecord } from './image-file.ts';

/** CRIU reads at least a record of each of these: without one, the file was cut off behind its head. */
const neverEmpty: ReadonlySet<string> = new Set(
  'INVENTORY PSTREE CORE IDS MM FS PAGEMAP GHOST_FILE TCP_STREAM CGROUP TIMENS'.split(' '),
);

/** A directory can have any number of broken images. */
const mostFaults = 100;

export type Outcome = 'read' | 'absent' | 'faulty';

export class Reading {
  readonly directory: ImageDirectory;
  readonly faults: Fault[] = [];

  constructor(directory: ImageDirectory) {
    this.directory = directory;
  }

  /** @param visit gets each record, and the number of those before it; `'enough'` ends the reading. */
  each(
    name: string,
    kind: string,
    visit: (record: ImageRecord, index: number, image: ImageFile) => unknown,
  ): Outcome {
    const outcome = this.guarded<Outcome>(() => {
      const image = ImageFile.open(this.directory, name);
      if (!image) return 'absent';
      try {
        if (image.kind.name !== kind)
          throw image.fault(undefined, `is a ${image.kind.name} image where a ${kind} image belongs`);
        let index = 0;
        for (const record of image.records()) if (visit(record, index++, image) === 'enough') break;
        if (index === 0 && neverEmpty.has(kind))
          throw image.fault(image.size, 'ends before its first record');
        return 'read';
      } finally {
        image.close();
      }
    });
    return outcome ?? 'faulty';
  }

  /** Keeps the fault that a reading finds. @returns undefined then. */
  guarded<T>(read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      this.add(error);
      return undefined;
    }
  }

  /** For another look, whose faults are told already or do not count. */
  apart(directory = this.directory): Reading {
    return new Reading(directory);
  }

  add({ file, offset, why, is }: Fault): void {
    if (this.faults.length < mostFaults) this.faults.push({ file, offset, why, is });
  }
}
