/** Records of the service in the journal. */
import { ReqType } from '../../../src/protocol/messages.ts';
import { eventually, run } from './bench.ts';
import { ask } from './client.ts';

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

/** The records of criu.service, once there are so many: the service hands them over beside its work, some after its reply. */
export async function records(count: number, ...matches: string[]): Promise<Entry[]> {
  let found: Entry[] = [];
  await eventually(`the journal has ${count} records of ${matches.join(' ')}`, () => {
    found = journal(...matches);
    return found.length >= count;
  });
  return found;
}

/** Where the journal ends now. */
export function cursor(): string {
  run('journalctl', '--sync');
  return /^-- cursor: (.*)$/m.exec(run('journalctl', '--show-cursor', '--lines=0', '--quiet'))![1]!;
}

/** Waits until the journal has all that the service has said so far: its records come in their order, and this is one more. */
export async function assertAllIsTold(): Promise<void> {
  const before = cursor();
  await ask({ type: ReqType.EMPTY });
  await records(1, `--after-cursor=${before}`, `CRIU_CALLER_PID=${process.pid}`);
}
