/** A directory of images for the time of its use. */
import { ImageDirectory } from './image-directory.ts';

/** @throws Error of node:fs if there is no such directory. */
export function opening<T>(path: string, use: (directory: ImageDirectory) => T): T {
  const directory = new ImageDirectory(path);
  try {
    return use(directory);
  } finally {
    directory.close();
  }
}
