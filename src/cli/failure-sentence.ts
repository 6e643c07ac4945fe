/** The sentence for a failure of CRIU, with the facts about this machine that it depends on. */
import { release } from 'node:os';
import { InstalledCriu } from '../engine/installed-criu.ts';
import { dumpsInternetSockets } from '../policy/criu-version.ts';
import { type Asked, type Sentence, sentenceFor } from './criu-errors.ts';

export async function sentenceAbout(
  said: readonly string[],
  asked: Omit<Asked, 'dumpsInternetSockets'>,
): Promise<Sentence | undefined> {
  const criu = await new InstalledCriu(undefined).version();
  const works = !criu || dumpsInternetSockets(criu, release());
  return sentenceFor(said, { ...asked, dumpsInternetSockets: works });
}
