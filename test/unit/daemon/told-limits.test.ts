import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isNews } from '../../../src/daemon/told-limits.ts';

describe('the limits of the installed CRIU', () => {
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'told-limits-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('are news once, and again when they change', () => {
    const [few, more] = [['one'], ['one', 'two']];
    const told = [few, few, more, more, few].map((sentences) => isNews(directory, sentences));
    assert.deepEqual(told, [true, false, true, false, true]);
  });

  it('are news at each start without a directory, and if it cannot be written', () => {
    assert.deepEqual([isNews(undefined, ['one']), isNews(undefined, ['one'])], [true, true]);
    rmSync(directory, { recursive: true });
    assert.deepEqual([isNews(directory, ['one']), isNews(directory, ['one'])], [true, true]);
  });
});
