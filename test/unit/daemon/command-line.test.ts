import assert from 'node:assert/strict';
import { parseCommandLine } from '../../../src/daemon/command-line.ts';
import { defaults } from '../../../src/daemon/options.ts';

describe('a command line without a word', () => {
  it('is what the service is started with where nobody parses one', () => {
    assert.deepEqual(parseCommandLine([], ''), defaults);
  });
});
