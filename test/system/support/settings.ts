/** Settings of criu.service that a test needs, in a drop-in that lasts until the machine stops. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { run } from './bench.ts';

const dropIn = '/run/systemd/system/criu.service.d';

/** To be called in the body of a suite, for its tests. The service is stopped before and after them. */
export function withSettings(...lines: string[]): void {
  before(() => {
    mkdirSync(dropIn, { recursive: true });
    writeFileSync(`${dropIn}/test.conf`, `[Service]\n${lines.join('\n')}\n`);
    run('systemctl', 'daemon-reload');
    run('systemctl', 'stop', 'criu.service');
  });
  after(() => {
    // A suite that cannot be shown here has none.
    rmSync(dropIn, { recursive: true, force: true });
    run('systemctl', 'daemon-reload');
    run('systemctl', 'stop', 'criu.service');
  });
}
