/** The outcome of a pruning in words, and as an object. Pure. */
import type { PrunedCheckpoint, Pruning } from '../../images/prune.ts';
import { sanitize } from '../../systemd/log.ts';
import { columns, inBytes } from '../words.ts';
import { inWords } from './show-words.ts';

export function pruningInWords({ directory, checkpoints, faults }: Pruning, dryRun: boolean): string {
  const removed = checkpoints.filter(({ fate, failure }) => !fate.kept && failure === undefined);
  const disk = removed.reduce((sum, { space }) => sum + space.disk, 0);
  const would = dryRun ? 'would be removed' : 'removed';
  const done =
    faults.length > 0
      ? `nothing was removed from ${directory}: it cannot be told which images the kept ones need`
      : `${removed.length} of ${checkpoints.length} checkpoints in ${directory} ${would}, ${inBytes(disk)} on disk`;
  return [
    ...columns(
      checkpoints.map((checkpoint) => [
        `${checkpoint.number}`,
        inBytes(checkpoint.space.disk),
        sanitize(fateOf(checkpoint, faults.length > 0, would)),
      ]),
    ),
    ...faults.map(inWords),
    sanitize(done),
  ].join('\n');
}

function fateOf({ is, fate, foreign, failure }: PrunedCheckpoint, held: boolean, would: string): string {
  if (failure !== undefined) return `could not be removed: ${failure}`;
  if (!fate.kept) {
    const noun = { old: 'an older dump', incomplete: 'an incomplete dump', 'pre-dump': 'a pre-dump' }[
      fate.why
    ];
    return `${held ? 'kept' : would}: ${noun}`;
  }
  switch (fate.why) {
    case 'new':
      return 'kept: one of the newest dumps';
    case 'foreign':
      return `kept: ${foreign} in it is not of a dump`;
    case 'unfinished':
      return `kept: ${is === 'pre-dump' ? 'a pre-dump' : 'an incomplete dump'}, newer than each whole dump`;
    case 'parent':
      return `kept: ${fate.of} needs it as its parent`;
  }
}

/** The object of --json; man criuctl describes it. */
export function pruningAsJson({ directory, checkpoints, faults }: Pruning, dryRun: boolean): object {
  return {
    verb: 'images',
    action: 'prune',
    directory,
    dryRun,
    checkpoints: checkpoints.map(({ number, is, space, fate, foreign, failure }) => ({
      number,
      is,
      files: space.files,
      bytes: space.bytes,
      disk: space.disk,
      ...fate,
      foreign,
      failure,
    })),
    faults,
  };
}
