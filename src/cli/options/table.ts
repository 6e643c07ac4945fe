/**
 * All options of criuctl: the verbs, their help and the completions of the shells are made from this table.
 *
 * Names and spellings are the same as on the `criu` command line, so that a habit carries over.
 */
import { cgroupOptions } from './cgroups.ts';
import { imageOptions } from './images.ts';
import { impossibleOptions } from './impossible.ts';
import { jobOptions } from './jobs.ts';
import { memoryOptions } from './memory.ts';
import { ownOptions } from './own.ts';
import { resourceOptions } from './resources.ts';
import type { OptionRow, Verb } from './row.ts';
import { treeOptions } from './tree.ts';

export const optionTable: readonly OptionRow[] = [
  ...imageOptions,
  ...treeOptions,
  ...resourceOptions,
  ...memoryOptions,
  ...cgroupOptions,
  ...ownOptions,
  ...jobOptions,
  ...impossibleOptions,
];

/** The rows of a verb, including the impossible options. */
export function optionsOf(verb: Verb): readonly OptionRow[] {
  return optionTable.filter((row) => row.verbs.includes(verb));
}
