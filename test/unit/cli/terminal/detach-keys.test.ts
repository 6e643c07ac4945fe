import assert from 'node:assert/strict';
import { DetachKeys } from '../../../../src/cli/terminal/detach-keys.ts';

/** The keys that reach the program, and whether the person leaves. */
function typed(...parts: string[]): [string, boolean] {
  const keys = new DetachKeys();
  let passed = '';
  for (const part of parts) {
    const result = keys.pass(Buffer.from(part));
    passed += Buffer.from(result.keys).toString();
    if (result.leaves) return [passed, true];
  }
  return [passed, false];
}

describe('keys at the terminal of a program', () => {
  it('reach the program as they are typed', () => {
    assert.deepEqual(typed('héllo\r\x03\x1a\x1b[A'), ['héllo\r\x03\x1a\x1b[A', false]);
  });

  it('leave the program by Ctrl-] and d, also if these come apart', () => {
    assert.deepEqual(typed('ab\x1ddcd'), ['ab', true]);
    assert.deepEqual(typed('ab\x1d', 'd'), ['ab', true]);
  });

  it('have one Ctrl-] for two, and Ctrl-] itself before any other key', () => {
    assert.deepEqual(typed('\x1d\x1d', 'd'), ['\x1dd', false]);
    assert.deepEqual(typed('\x1d', 'x', '\x1d\x1b[A'), ['\x1dx\x1d\x1b[A', false]);
  });
});
