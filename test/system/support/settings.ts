/** Settings of criu.service that a test needs, in a drop-in that lasts as long as the machine runs. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { run } from './bench.ts';

const dropIn = '/run/systemd/system/criu.service.d';

/** For the tests of one suite, in whose body it is called. Whatever they leave is stopped. */
export function withSettings(...lines: string[]): void {
  before(() => {
    mkdirSync(dropIn, { recursive: true });
    writeFileSync(`${dropIn}/test.conf`, `[Service]\n${lines.join('\n')}\n`);
    run('systemctl', 'daemon-reload');
    run('systemctl', 'stop', 'criu.service');
  });
  after(() => {
    rmSync(dropIn, { recursive: true });
    run('systemctl', 'daemon-reload');
    run('systemctl', 'stop', 'criu.service');
  });
}
