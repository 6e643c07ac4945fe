/**
 * The way past files that are gone, or have another size than a resume needs. An older checkpoint is not taken unasked: work would be lost
 * that is there again as soon as the files are. So the failure names it.
 */
import type { OwnOptions } from '../invocation.ts';
import { quoted } from '../words.ts';

export interface WayOn {
  readonly from: number;
  readonly restoreFiles: boolean;
}

/**
 * @param from the checkpoint whose resume has failed, with or without --restore-files.
 * @param older the newest first.
 * @param fits whether a resume finds the files as it needs them; undefined if that cannot be told.
 * @returns the way that loses the least work; undefined if files are not in the way, or no checkpoint fits.
 */
export async function wayPastFiles(
  { from, restoreFiles }: WayOn,
  older: readonly number[],
  fits: (way: WayOn) => Promise<boolean | undefined>,
): Promise<WayOn | undefined> {
  if ((await fits({ from, restoreFiles })) !== false) return undefined;
  for (const number of [from, ...older]) {
    for (const puttingBack of restoreFiles ? [true] : [false, true]) {
      const way = { from: number, restoreFiles: puttingBack };
      if (await fits(way)) return way;
    }
  }
  return undefined;
}

/** As a line to copy. @param failed the resume that has failed. */
export function commandOf(
  name: string,
  way: WayOn,
  failed: WayOn,
  { job: { foreground, dir }, trustImages }: OwnOptions,
): string {
  return [
    `criuctl resume ${name}`,
    ...(way.from === failed.from ? [] : [`--from ${way.from}`]),
    ...(way.restoreFiles && !failed.restoreFiles ? ['--restore-files'] : []),
    ...(foreground ? ['--foreground'] : []),
    ...(dir === undefined ? [] : [`--dir ${quoted(dir)}`]),
    ...(trustImages ? ['--trust-images'] : []),
  ].join(' ');
}
