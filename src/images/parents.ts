/**
 * Are the pages that an incremental dump leaves to the images before in them? Both pagemaps are in the order of addresses and are
 * walked side by side, so that millions of entries take no memory.
 */
import { eachParent } from './chain.ts';
import { sizeOfPages } from './compressed.ts';
import type { ImageDirectory } from './image-directory.ts';
import { ImageFile } from './image-file.ts';
import { Reading } from './reading.ts';
import { type PageRun, pageRun, readPagemap } from './task-images.ts';
import type { Thing } from './things.ts';

/** @param names of pagemaps with pages in parents. */
export function judgeParents(
  reading: Reading,
  names: readonly string[],
  pageSize: number,
  tell: (thing: Thing) => void,
): void {
  let open = names;
  let found = false;
  eachParent(reading, (parent, child, level) => {
    found = true;
    const left: string[] = [];
    for (const name of open) {
      const missing = reading.guarded(() => uncovered(child, parent, name, pageSize));
      if (missing === undefined) continue;
      tell({ kind: 'pages in parents', file: name, directory: parent.path, missing, level });
      if (missing === 0 && judgePages(reading, parent, name, pageSize, tell)) left.push(name);
    }
    open = left;
  });
  if (found) return;
  for (const name of open) {
    const pages = readPagemap(reading, name);
    if (typeof pages !== 'string')
      tell({
        kind: 'pages in parents',
        file: name,
        directory: 'parent (missing)',
        missing: pages.inParent,
        level: 1,
      });
  }
}

/** The pages image of a parent. @returns true if its own parents have pages, too. */
function judgePages(
  reading: Reading,
  directory: ImageDirectory,
  name: string,
  pageSize: number,
  tell: (thing: Thing) => void,
): boolean {
  const pages = readPagemap(new Reading(directory), name);
  if (typeof pages === 'string') return false;
  const file = `pages-${pages.pagesId}.img`;
  const bytes = reading.guarded(() => sizeOfPages(directory, file));
  if (bytes !== undefined)
    tell({
      kind: 'pages',
      file: `${directory.path}/${file}`,
      bytes: bytes === 'absent' ? 0 : bytes,
      wanted: pages.here * pageSize,
      strange: pages.strange,
    });
  return pages.inParent > 0;
}

/** The number of pages that the child leaves to its parent, and that the parent's pagemap lacks. */
function uncovered(child: ImageDirectory, parent: ImageDirectory, name: string, pageSize: number): number {
  const wanted = runsOf(child, name);
  const offered = runsOf(parent, name);
  try {
    let missing = 0;
    let offer = offered.next();
    for (const { address, pages, place } of wanted) {
      if (place !== 'parent') continue;
      let at = address;
      const end = address + pages * pageSize;
      while (at < end) {
        while (!offer.done && offer.value.address + offer.value.pages * pageSize <= at)
          offer = offered.next();
        const from = offer.done ? end : Math.min(Math.max(offer.value.address, at), end);
        const to = offer.done ? end : Math.min(offer.value.address + offer.value.pages * pageSize, end);
        const held = !offer.done && ['here', 'parent'].includes(offer.value.place);
        missing += ((held ? from : Math.max(to, from)) - at) / pageSize;
        at = Math.max(to, from);
      }
    }
    return Math.ceil(missing);
  } finally {
    wanted.return(undefined);
    offered.return(undefined);
  }
}

function* runsOf(directory: ImageDirectory, name: string): Generator<PageRun, undefined> {
  const image = ImageFile.open(directory, name);
  if (!image) return undefined;
  try {
    let index = 0;
    for (const { message } of image.records()) {
      const run = index++ > 0 && image.kind.name === 'PAGEMAP' ? pageRun(message) : undefined;
      if (run && run.pages > 0) yield run;
    }
  } finally {
    image.close();
  }
  return undefined;
}
