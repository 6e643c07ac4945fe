/** The tree after a request that did not go well: the states that are worth a record. */
import assert from 'node:assert/strict';
import { ReqType } from '../../../src/protocol/messages.ts';
import type { TreeState } from '../../../src/records/vocabulary.ts';
import { isNews } from '../../../src/session/trees/left-behind.ts';
import { authorized } from './support/authorized.ts';

const held: TreeState = { kind: 'held', thread: 1, how: 'is stopped' };
const [running, gone]: TreeState[] = [{ kind: 'running' }, { kind: 'gone' }] as const;

describe('the tree of a request', () => {
  for (const [state, cutOff, ofRoot, ofUser] of [
    [running!, true, false, false],
    [gone!, true, false, true],
    [held, true, true, true],
  ] as const) {
    it(`that is ${state.kind} is recorded after a cut, and after a failed pre-dump if CRIU’s claim is not the case`, () => {
      const request = authorized(ReqType.PRE_DUMP);
      const reason = 'PRE_DUMP: CRIU failed';
      assert.equal(isNews({ request, reason }, state), cutOff);
      const claims = 'rolled back';
      assert.equal(isNews({ request, reason, claims }, state), ofRoot);
      assert.equal(isNews({ request: { ...request, engine: 'confined' }, reason, claims }, state), ofUser);
    });
  }
});
