import assert from 'node:assert/strict';
import { exitCodeOf, inJson, inWords } from '../../../src/cli/ending.ts';

describe('the end of a restored process', () => {
  it('becomes the exit status of criuctl, as in a shell', () => {
    assert.equal(exitCodeOf({ kind: 'exited', code: 7 }), 7);
    assert.equal(exitCodeOf({ kind: 'signalled', signal: 15 }), 143);
    assert.equal(exitCodeOf({ kind: 'unknown' }), 0);
  });

  it('is told in words, and as JSON', () => {
    assert.equal(inWords({ kind: 'exited', code: 7 }), 'ended with status 7');
    assert.equal(inWords({ kind: 'signalled', signal: 2 }), 'was ended by SIGINT');
    assert.match(inWords({ kind: 'signalled', signal: 40 }), /signal 40/);
    assert.match(inWords({ kind: 'unknown' }), /cannot be known/);
    assert.deepEqual(inJson({ kind: 'exited', code: 7 }), { status: 7, signal: null });
    assert.deepEqual(inJson({ kind: 'signalled', signal: 2 }), { status: null, signal: 'SIGINT' });
    assert.deepEqual(inJson({ kind: 'unknown' }), { status: null, signal: null });
  });
});
