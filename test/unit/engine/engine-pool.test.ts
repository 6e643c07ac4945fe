import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { EnginePool } from '../../../src/engine/engine-pool.ts';
import { umaskFor } from '../../../src/engine/privileged.ts';
import { ReqType } from '../../../src/protocol/messages.ts';
import { eventually, ServiceUnderTest } from '../../scenario/support/service.ts';
import { enginesOf } from '../support/engines.ts';

describe('EnginePool', () => {
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

  it('starts one engine immediately and the rest later', async () => {
    pool = new EnginePool({ criu: criu.script, ahead: 2 });
    pool.start();
    assert.equal(enginesOf(criu.script).length, 1);
    await eventually('two wait', () => enginesOf(criu.script).length === 2);
  });

  it('has engines for restores, with the umask that CRIU’s modes are meant for, and for all other requests with a umask that keeps images private', async () => {
    const unheard = { onMessage: () => {}, onHangup: () => {}, onEnd: () => {} };
    const umaskOf = (type: ReqType): string => {
      const engine = pool.take(umaskFor(type), unheard);
      assert.ok(engine, 'one of them waits');
      return /^Umask:\t(.*)$/m.exec(readFileSync(`/proc/${engine.pid}/status`, 'latin1'))![1]!;
    };
    pool = new EnginePool({ criu: criu.script, ahead: 4 });
    pool.start();
    await eventually('four wait', () => enginesOf(criu.script).length === 4);
    const types = [ReqType.DUMP, ReqType.RESTORE, ReqType.RESTORE, ReqType.PAGE_SERVER];
    assert.deepEqual(types.map(umaskOf), ['0077', '0022', '0022', '0077']);
    for (const type of types) assert.equal(pool.take(umaskFor(type), unheard), undefined);
  });

  it('starts no engine if none should wait', () => {
    pool = new EnginePool({ criu: criu.script, ahead: 0 });
    pool.start();
    assert.deepEqual(enginesOf(criu.script), []);
  });
});
