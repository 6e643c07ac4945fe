import assert from 'node:assert/strict';
import { limitsOf } from '../../../src/cli/status.ts';

const execStart = (words: string): string =>
  `{ path=/usr/lib/criu-service/criu-service ; argv[]=/usr/lib/criu-service/criu-service${words} ; ignore_errors=no ; pid=1 }`;

describe('the limits that criuctl status shows', () => {
  it('are those of the unit’s command line, and otherwise the service’s defaults', async () => {
    const byDefault = await limitsOf(execStart(''));
    const limits = await limitsOf(execStart(' --max-engines 7 --restore=group=criu'));
    assert.ok(byDefault && limits);
    assert.equal(byDefault.restore, 'all');
    assert.deepEqual(limits, { ...byDefault, engines: 7, restore: 'group=criu' });
  });

  it('are unknown without a unit', async () => {
    assert.equal(await limitsOf(''), undefined);
  });
});
