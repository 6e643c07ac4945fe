/** Records of the service in the journal. */
import { run } from './bench.ts';

export type Entry = Readonly<Record<string, string>>;

/** The records of criu.service that match all of these fields, oldest first. */
export function journal(...matches: string[]): Entry[] {
  return journalOf('criu.service', ...matches);
}

/** The same for another unit. */
export function journalOf(unit: string, ...matches: string[]): Entry[] {
  run('journalctl', '--sync');
  return run('journalctl', `--unit=${unit}`, '--output=json', '--no-pager', ...matches)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Entry);
}
