/**
 * The look at images before a restore: an absent or truncated image is a sentence before an engine is started. CRIU takes most absent
 * images for empty, and of some that are cut off it waits for the rest without end.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { RestoreOptions } from '../client/options.ts';
import { circumstances } from './circumstances.ts';
import { lastImage } from './destination.ts';
import { exitCodes } from './exit-codes.ts';
import { type Invocation, Obstacle } from './invocation.ts';

const mostNamed = 5;

/** @throws Obstacle if the images are incomplete. */
export async function verifyFirst({ own, options }: Invocation, directory: string): Promise<void> {
  const { lazyPages, tcpClose = false } = options as RestoreOptions;
  // Pages that come over the network later are not in the directory; and without an inventory, CRIU says that there are no images.
  if (own.noVerify || lazyPages || !existsSync(join(directory, lastImage))) return;
  const broken = await brokenImages(directory, tcpClose);
  const [first, ...others] = broken;
  if (!first) return;
  const more = others.length - mostNamed;
  throw new Obstacle(
    exitCodes.refused,
    `RESTORE refused: ${first.why}`,
    ...others.slice(0, mostNamed).map(({ why }) => why),
    ...(more > 0 ? [`and ${more} more`] : []),
    `To restore them: ${first.remedy}`,
    `See criuctl images verify ${directory}; --no-verify lets CRIU try it`,
  );
}

/** What is in the way of a restore in the images themselves. */
export async function faultsOf(directory: string): Promise<readonly string[]> {
  if (!existsSync(join(directory, lastImage))) return [`${lastImage} is missing in ${directory}`];
  return (await brokenImages(directory, false)).map(({ why }) => why);
}

async function brokenImages(
  directory: string,
  tcpClose: boolean,
): Promise<readonly { readonly why: string; readonly remedy: string }[]> {
  const { incompleteness } = await import('./images/images.ts');
  try {
    return incompleteness(directory, { ...circumstances(), tcpClose });
  } catch (error) {
    // The directory is gone, or may not be read: the request says so.
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return [];
  }
}
