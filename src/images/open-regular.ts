/**
 * Opens regular files only. To open a FIFO or a device can wait, or do something; so the place is taken first (O_PATH), looked at, and
 * opened by its descriptor, when nothing else can be put there any more.
 */
import { closeSync, constants, fstatSync, openSync, type Stats } from 'node:fs';

export interface OpenFile {
  readonly fd: number;
  readonly stat: Stats;
}

/** From asm-generic/fcntl.h; node:fs does not have it. */
const O_PATH = 0o10000000;

/**
 * @param links followed, or taken for what they are.
 * @returns the open file, whose descriptor the caller closes; or the status of what is no regular file.
 * @throws Error of node:fs
 */
export function openRegular(
  path: string,
  links: 'followed' | 'as they are',
): OpenFile | { readonly stat: Stats } {
  const place = openSync(path, O_PATH | (links === 'followed' ? 0 : constants.O_NOFOLLOW));
  try {
    const stat = fstatSync(place);
    if (!stat.isFile()) return { stat };
    // Without waiting for the holder of a lease, fcntl(2).
    return { fd: openSync(`/proc/self/fd/${place}`, constants.O_RDONLY | constants.O_NONBLOCK), stat };
  } finally {
    closeSync(place);
  }
}
