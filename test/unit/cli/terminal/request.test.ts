import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Invocation } from '../../../../src/cli/invocation.ts';
import { fileOf, magic } from '../../../../src/cli/terminal/image-file.ts';
import { TerminalRequest } from '../../../../src/cli/terminal/request.ts';
import { writeFields } from '../../../../src/protocol/fields.ts';

/** The slave of a pseudo terminal whose master is not in the tree (images/tty.proto). */
function slave(index: number): Uint8Array {
  const pty = writeFields([{ number: 1, value: index }]);
  const values = { 1: index * 2, 2: 1, 9: new Uint8Array(), 12: pty };
  return writeFields(Object.entries(values).map(([number, value]) => ({ number: Number(number), value })));
}

describe('a restore of a tree with terminals', () => {
  let images: string;

  beforeEach(() => {
    images = mkdtempSync(join(tmpdir(), 'terminals-'));
  });

  afterEach(() => rmSync(images, { recursive: true }));

  const requested = (terminal: string | undefined, ...slaves: Uint8Array[]) => {
    writeFileSync(join(images, 'tty-info.img'), fileOf(slaves, magic.ttyInfo));
    return TerminalRequest.for({ own: { terminal } } as Invocation, { images, work: images });
  };

  it('is refused if there are two, wherever they should go, and nothing is written', async () => {
    for (const terminal of [undefined, 'none', join(images, 'output')])
      await assert.rejects(
        requested(terminal, slave(3), slave(4)),
        /had 2 terminals, and CRIU can give it back one/,
      );
    assert.deepEqual(readdirSync(images), ['tty-info.img']);
  });

  it('needs nothing if the tree has none', async () => {
    assert.equal(await requested('none'), undefined);
    assert.deepEqual(readdirSync(images), ['tty-info.img']);
  });
});
