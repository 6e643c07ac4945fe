import assert from 'node:assert/strict';
import {
  decodeHolderMessage,
  encodeHolderMessage,
  mostPacketBytes,
} from '../../../../src/cli/terminal/holder-messages.ts';
import { mostTailBytes } from '../../../../src/cli/terminal/relay.ts';

describe('a packet of a terminal’s holder', () => {
  it('carries any bytes', () => {
    const bytes = Uint8Array.from([10, 0, 255, 10]);
    for (const kind of ['hold', 'held', 'lend', 'busy', 'back'] as const) {
      const decoded = decodeHolderMessage(encodeHolderMessage({ kind, pid: 4711, bytes }))!;
      assert.deepEqual([decoded.kind, decoded.pid, [...decoded.bytes]], [kind, 4711, [...bytes]]);
    }
  });

  it('has room for the longest tail', () => {
    const bytes = new Uint8Array(mostTailBytes);
    assert.ok(encodeHolderMessage({ kind: 'hold', pid: 4194304, bytes }).length <= mostPacketBytes);
  });

  it('is nothing else', () => {
    for (const text of ['', 'hold', 'hold 1', '\n', 'hold x\n', 'hold 1 2\n', 'give 1\n', ' hold 1\n'])
      assert.equal(decodeHolderMessage(Buffer.from(text)), undefined, text);
  });
});
