import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CriuMissingError, findCriu } from '../../../src/engine/criu-binary.ts';

describe('the criu that engines execute', () => {
  const directory = mkdtempSync(join(tmpdir(), 'criu-binary-'));
  const link = join(directory, 'criu');

  after(() => rmSync(directory, { recursive: true }));

  function linkTo(...names: string[]): void {
    const file = join(directory, ...names, 'criu');
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, '#!/bin/sh\n', { mode: 0o755 });
    rmSync(link, { force: true });
    symlinkSync(file, link);
  }

  it('may be a link to another program', () => {
    linkTo('sbin');
    assert.equal(findCriu(link), link);
  });

  it('is never the drop-in, which would ask the service again', () => {
    linkTo('criu-service', 'bin');
    assert.throws(() => findCriu(link), CriuMissingError);
  });
});
