/** The look before a checkpoint of a job. */
import assert from 'node:assert/strict';
import { keepsJob } from '../../../src/cli/look-first.ts';
import type { Thing } from '../../../src/look/things.ts';
import type { Verdict } from '../../../src/look/verdicts.ts';

const connection = { kind: 'internet', protocol: 'TCP', state: 'connected', local: '', remote: '' } as const;
const console_ = { kind: 'console', path: '/dev/console' } as const;
const doubt: Verdict = { verdict: 'cannot-be-told', note: '' };
const shellJob: Verdict = { verdict: 'with-option', needs: { dump: '--shell-job' }, note: '' };

describe('a job is refused a checkpoint', () => {
  for (const [what, thing, verdict, pty, expected] of [
    [
      'with a connection within its tree, which would come back closed',
      { ...connection, isInside: true },
      doubt,
      false,
      true,
    ],
    ['not with another connection', connection, doubt, false, false],
    ['not with another doubt', console_, doubt, false, false],
    ['with a terminal', console_, shellJob, false, true],
    ['not with a terminal of its own', console_, shellJob, true, false],
    [
      'if it would not come back',
      console_,
      { verdict: 'does-not-come-back', why: '', remedy: '' },
      true,
      true,
    ],
    ['not if it comes back', console_, { verdict: 'comes-back' }, false, false],
  ] as readonly [string, Thing, Verdict, boolean, boolean][]) {
    it(what, () => assert.equal(keepsJob({ thing, verdict }, pty), expected));
  }
});
