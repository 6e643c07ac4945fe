import assert from 'node:assert/strict';
import { currentState } from '../../../src/daemon/older-states.ts';
import type { State } from '../../../src/daemon/session-states.ts';
import { ReqType } from '../../../src/protocol/messages.ts';
import { authorized } from './support/authorized.ts';

const dump = authorized(ReqType.DUMP);
const restore = { ...authorized(ReqType.RESTORE), engine: 'confined', scope: 'restore' } as const;

describe('a state that version 0.1.0 has kept', () => {
  const table: readonly [string, Parameters<typeof currentState>[0], State][] = [
    [
      'a dump',
      { at: 'working', request: dump, callerEnded: false, verified: false },
      { at: 'working', request: dump },
    ],
    [
      'a dump whose caller has left',
      { at: 'working', request: dump, callerEnded: true, verified: false },
      { at: 'rolling-back', request: dump, because: { is: 'caller-left' } },
    ],
    [
      'a dump that was cut off',
      { at: 'working', request: dump, callerEnded: true, verified: false, cutOff: 'late' },
      { at: 'rolling-back', request: dump, because: { is: 'cut-off', reason: 'late' } },
    ],
    [
      'a restore that is not verified',
      { at: 'working', request: restore, callerEnded: false, verified: false },
      { at: 'restoring', request: restore },
    ],
    [
      'a restore that is verified',
      { at: 'working', request: restore, callerEnded: false, verified: true },
      { at: 'resuming', request: restore },
    ],
    [
      'a notification of a restore that is not verified',
      { at: 'notifying', request: restore, verified: false },
      { at: 'notifying', request: restore, back: 'restoring' },
    ],
    [
      'a notification of a dump',
      { at: 'notifying', request: dump, verified: false },
      { at: 'notifying', request: dump, back: 'working' },
    ],
  ];
  for (const [name, kept, current] of table) {
    it(`is gone on with as it was: ${name}`, () => assert.deepEqual(currentState(kept), current));
  }

  it('is what it is, where this version has kept it', () => {
    for (const [, , current] of table) assert.equal(currentState(current), current);
  });
});
