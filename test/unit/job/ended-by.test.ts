import assert from 'node:assert/strict';
import { isEndBy } from '../../../src/job/ended-by.ts';

const sigterm = 15;

describe('the end of a job’s command', () => {
  for (const [end, isBySignal] of [
    [{ kind: 'signalled', signal: sigterm }, true],
    [{ kind: 'exited', code: 128 + sigterm }, true],
    [{ kind: 'signalled', signal: 9 }, false],
    [{ kind: 'exited', code: sigterm }, false],
    [{ kind: 'exited', code: 0 }, false],
  ] as const) {
    it(`${JSON.stringify(end)} is ${isBySignal ? '' : 'not '}that by a SIGTERM which came`, () => {
      assert.equal(isEndBy(end, new Set([sigterm])), isBySignal);
    });
    it(`${JSON.stringify(end)} is by no signal if none came`, () => {
      assert.equal(isEndBy(end, new Set()), false);
    });
  }
});
