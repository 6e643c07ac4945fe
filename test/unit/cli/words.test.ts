import assert from 'node:assert/strict';
import { jsonOf } from '../../../src/cli/words.ts';

describe('the JSON of criuctl', () => {
  it('has no character that a terminal takes for a command, and means the same', () => {
    const value = { text: 'a\x1b]\x9b\x7f\u202e\u{e0001}ü' };
    const text = jsonOf(value);
    assert.doesNotMatch(text, /[\p{Cc}\p{Cf}]/u);
    assert.match(text, /ü/);
    assert.deepEqual(JSON.parse(text), value);
  });
});
