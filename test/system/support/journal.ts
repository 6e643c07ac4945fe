/** Records of the service in the journal. */
import { run } from './bench.ts';

export type Entry = Readonly<Record<string, string>>;

/** The records of criu.service that match all of these fields, oldest first. */
export function journal(...matches: string[]): Entry[] {
  run('journalctl', '--sync');
  return run('journalctl', '--unit=criu.service', '--output=json', '--no-pager', ...matches)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Entry);
}
