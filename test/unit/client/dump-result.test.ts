import assert from 'node:assert/strict';
import { dumpResult } from '../../../src/client/dump-result.ts';
import { ReqType } from '../../../src/protocol/messages.ts';
import { withWarning } from '../../../src/protocol/replies.ts';

const done = { type: ReqType.DUMP, success: true, dump: { restored: false } };

describe('the result of a dump', () => {
  it('has the warning of the service', () => {
    assert.deepEqual(dumpResult(withWarning(done, 'process 7 lacks a group')), {
      restored: false,
      warning: 'process 7 lacks a group',
    });
  });

  it('has no word of CRIU’s own, which are about an error that did not matter', () => {
    const said = { ...done, dump: { restored: true }, cr_errmsg: 'Error (criu/tty.c:1): no terminal' };
    assert.deepEqual(dumpResult(said), { restored: true });
  });
});
