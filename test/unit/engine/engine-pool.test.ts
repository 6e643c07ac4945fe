import assert from 'node:assert/strict';
import { EnginePool } from '../../../src/engine/engine-pool.ts';
import { eventually, ServiceUnderTest } from '../../scenario/support/service.ts';

describe('the engines that wait when the service starts', () => {
  let criu: ServiceUnderTest;
  let pool: EnginePool;

  beforeEach(() => {
    criu = new ServiceUnderTest();
    criu.engine('receive');
  });

  afterEach(async () => {
    pool.close();
    await criu.stop();
  });

  it('are one at once, for whoever has connected already, and the others later', async () => {
    pool = new EnginePool({ criu: criu.script, ahead: 2 });
    pool.start();
    assert.equal(pool.size, 1);
    await eventually('two wait', () => pool.size === 2);
  });

  it('are none where none are to wait', () => {
    pool = new EnginePool({ criu: criu.script, ahead: 0 });
    pool.start();
    assert.equal(pool.size, 0);
  });
});
