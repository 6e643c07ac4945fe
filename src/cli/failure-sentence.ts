/** The sentence for a failure of CRIU, with the facts about this machine that it depends on. */
import { release } from 'node:os';
import { InstalledCriu } from '../engine/installed-criu.ts';
import { dumpsInternetSockets } from '../policy/criu-version.ts';
import { type Asked, type Sentence, sentenceFor } from './criu-errors.ts';

/** @param version of the installed CRIU, which is started for that. */
export function sentenceAbout(
  said: readonly string[],
  asked: Omit<Asked, 'dumpsInternetSockets'>,
  version = () => new InstalledCriu(undefined).version(),
): Promise<Sentence | undefined> {
  return sentenceFor(said, {
    ...asked,
    dumpsInternetSockets: async () => {
      const criu = await version();
      return !criu || dumpsInternetSockets(criu, release());
    },
  });
}
