/** The manifest of a dump that the client library was asked for. */
import { writeManifest } from '../images/manifest/write-manifest.ts';
import type { Directory } from './directory.ts';
import type { DumpOptions } from './options.ts';
import { restoreOptionsOf } from './restore-options.ts';
import type { CriuVersion, DumpResult } from './results.ts';
import { versionText } from './version-text.ts';

/** @param criu undefined if it could not be asked for. */
export async function addManifest(
  options: DumpOptions,
  criu: CriuVersion | undefined,
): Promise<Pick<DumpResult, 'manifestFailure'>> {
  const { manifest, leaveRunning = false } = options;
  const facts = {
    criu: criu && versionText(criu),
    leftRunning: leaveRunning,
    restoreWith: restoreOptionsOf(options),
  };
  try {
    await writeManifest(
      pathOf(options.imagesDir),
      facts,
      manifest === true || manifest === false ? {} : manifest,
    );
    return {};
  } catch (error) {
    return { manifestFailure: error as Error };
  }
}

function pathOf(directory: Directory): string {
  if (typeof directory === 'string') return directory;
  return `/proc/self/fd/${typeof directory === 'number' ? directory : directory.fd}`;
}
