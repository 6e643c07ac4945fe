import assert from 'node:assert/strict';
import { constants as os } from 'node:os';
import { CriuError, describeFailure, isCriuError } from '../../../src/client/criu-error.ts';

describe('the sentence of a failed request', () => {
  it('is CRIU’s own if there is a sentence, and names the request', () => {
    assert.equal(describeFailure('DUMP', 0, 'Error (a.c:1): no\n'), 'DUMP failed: Error (a.c:1): no');
    assert.equal(describeFailure('DUMP', os.errno.EPERM, 'DUMP refused: why'), 'DUMP refused: why');
  });

  it('tells the meaning of an errno for this request', () => {
    assert.equal(describeFailure('DUMP', os.errno.ESRCH, undefined), 'DUMP failed: there is no such process');
    assert.match(describeFailure('RESTORE', os.errno.EEXIST, ''), /a process has the pid/);
    assert.match(describeFailure('CHECK', 56, undefined), /does not take these options/);
  });

  it('names the errno if nothing else is known, also an errno unknown to Node', () => {
    assert.equal(describeFailure('RESTORE', os.errno.ENOSPC, undefined), 'RESTORE failed: ENOSPC');
    assert.equal(describeFailure('RESTORE', 4000, undefined), 'RESTORE failed: errno 4000');
    assert.equal(describeFailure('CHECK', undefined, undefined), 'CHECK failed');
  });
});

describe('CriuError', () => {
  it('is recognized among other errors, and by its code', () => {
    const error = new CriuError('FAILED', 'no', { errno: os.errno.EPERM });
    assert.equal(isCriuError(error), true);
    assert.equal(isCriuError(error, 'FAILED'), true);
    assert.equal(isCriuError(error, 'CLOSED'), false);
    assert.equal(isCriuError(new Error('no')), false);
    assert.equal(error.errnoName, 'EPERM');
  });
});
