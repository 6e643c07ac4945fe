import assert from 'node:assert/strict';
import { type Resumption, resumptionOf } from '../../../src/daemon/resumption.ts';
import type { Progress } from '../../../src/daemon/session-file.ts';
import type { State } from '../../../src/daemon/session-states.ts';
import { ReqType } from '../../../src/protocol/messages.ts';
import { authorized } from './support/authorized.ts';

const request = authorized(ReqType.DUMP);
const states = {
  idle: { at: 'idle', phase: 'first', engine: false },
  working: { at: 'working', request },
  verifying: { at: 'verifying', request },
  notifying: { at: 'notifying', request, back: 'working' },
  'handed-over': { at: 'handed-over', request },
} satisfies Record<string, State>;

/** With an engine in the store, and without. */
const table: readonly [keyof typeof states, Progress, Resumption, Resumption][] = [
  ['idle', 'unread', 'go-on', 'go-on'],
  ['idle', 'taken', 'ask-again', 'ask-again'],
  ['idle', 'sent', 'go-on', 'go-on'],
  ['working', 'unread', 'look-anew', 'look-anew'],
  ['working', 'taken', 'ask-again', 'ask-again'],
  ['working', 'sending', 'go-on', 'go-on'],
  ['working', 'sent', 'go-on', 'go-on'],
  ['verifying', 'sent', 'go-on', 'go-on'],
  ['notifying', 'sent', 'go-on', 'go-on'],
  ['handed-over', 'unread', 'go-on', 'find-engine'],
];

describe('what becomes of a session after a restart', () => {
  for (const [at, progress, withEngine, without] of table) {
    const both = withEngine === without ? withEngine : `${withEngine} with its engine, ${without} without`;
    it(`is ${both}, when it is ${at} and its request ${progress}`, () => {
      const snapshot = { state: states[at], progress };
      assert.deepEqual([resumptionOf(snapshot, true), resumptionOf(snapshot, false)], [withEngine, without]);
    });
  }
});
