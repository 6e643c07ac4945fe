import assert from 'node:assert/strict';
import { endianness } from 'node:os';
import { offsetsOf, parseOffsets } from '../../../src/policy/clocks.ts';
import type { Clocks, ClockTime } from '../../../src/protocol/clocks-image.ts';
import { len, num, packet } from '../protocol/wire-bytes.ts';

type Pair = readonly [seconds: bigint, nanoseconds: bigint];

function image(monotonic: Pair, boottime: Pair = monotonic): Buffer {
  const time = ([seconds, nanoseconds]: Pair): number[] => [...num(1, seconds), ...num(2, nanoseconds)];
  const message = packet(len(1, time(monotonic)), len(2, time(boottime)));
  const head = new DataView(new ArrayBuffer(12));
  [0x54564319, 0x43114433, message.length].forEach((word, at) => {
    head.setUint32(at * 4, word, endianness() === 'LE');
  });
  return Buffer.concat([new Uint8Array(head.buffer), message]);
}

const at = ([seconds, nanoseconds]: Pair): ClockTime => ({ seconds, nanoseconds });
const both = (monotonic: Pair, boottime: Pair = monotonic): Clocks => ({
  monotonic: at(monotonic),
  boottime: at(boottime),
});

const none = 'monotonic           0         0\nboottime            0         0\n';
const latest = 4_611_686_017n;

describe('the offsets of a restored tree', () => {
  for (const [what, dumped, now, own, offsets] of [
    ['after a reboot', image([1000n, 0n]), both([50n, 0n]), none, both([950n, 0n])],
    ['at once', image([1000n, 5n]), both([1000n, 5n]), none, both([0n, 0n])],
    [
      'with another part of a second',
      image([1000n, 999_999_999n]),
      both([999n, 1n]),
      none,
      both([1n, 999_999_998n]),
    ],
    [
      'by a launcher that is itself in a time namespace',
      image([1000n, 0n]),
      both([650n, 0n], [450n, 500_000_000n]),
      'monotonic         600         0\nboottime          400 500000000\n',
      both([950n, 0n], [950n, 0n]),
    ],
    [
      'by a launcher whose clocks are behind',
      image([1000n, 0n]),
      both([650n, 0n]),
      'monotonic        -601 500000000\nboottime         -600         0\n',
      both([-251n, 500_000_000n], [-250n, 0n]),
    ],
    ['of the latest clocks', image([latest, 0n]), both([17n, 0n]), none, both([latest - 17n, 0n])],
  ] as const) {
    it(`give it the clocks of its dump, ${what}`, () => {
      assert.deepEqual(offsetsOf({ image: dumped, now, own }), offsets);
    });
  }

  for (const [what, dumped, now, own, offsets] of [
    ['an hour later', image([1000n, 0n]), both([4600n, 0n]), none, both([0n, 0n])],
    ['a part of a second later', image([1000n, 100n]), both([1000n, 400n]), none, both([0n, 0n])],
    ['of a machine that has just started', image([0n, 0n]), both([99n, 1n]), none, both([0n, 0n])],
    [
      'where one of them is behind',
      image([300n, 0n], [500n, 0n]),
      both([200n, 0n], [900n, 0n]),
      none,
      both([100n, 0n], [0n, 0n]),
    ],
    [
      'by a launcher that is itself in a time namespace',
      image([100n, 0n]),
      both([650n, 0n], [450n, 0n]),
      'monotonic         600         0\nboottime          400         0\n',
      both([50n, 0n], [50n, 0n]),
    ],
    [
      'by a launcher far ahead',
      image([100n, 0n]),
      both([6050n, 0n]),
      'monotonic        6000         0\nboottime         6000         0\n',
      both([50n, 0n]),
    ],
  ] as const) {
    it(`leave no clock of it behind the machine’s, ${what}`, () => {
      assert.deepEqual(offsetsOf({ image: dumped, now, own }), offsets);
    });
  }

  it('leave it behind the machine’s clocks as far as root has put its launcher, and no further', () => {
    const own = 'monotonic        -600         0\nboottime         -600         0\n';
    const behind = offsetsOf({ image: image([5n, 0n], [700n, 0n]), now: both([400n, 0n]), own });
    assert.deepEqual(behind, both([-600n, 0n], [-300n, 0n]));
  });

  it('are absent if the images have no clocks', () => {
    assert.equal(offsetsOf({ now: both([1n, 0n]), own: none }), undefined);
  });

  for (const [what, bytes, reason] of [
    ['damaged', Buffer.from('no image'), /^is damaged: it ends after 8 bytes$/],
    ['before zero', image([-5n, 0n]), /^has a monotonic clock of -5 seconds, which is before zero$/],
    ['before zero by the other clock', image([5n, 0n], [-1n, 0n]), /^has a boottime clock of -1 seconds/],
    [
      'beyond the kernel’s range',
      image([latest + 1n, 0n]),
      /of 4611686018 seconds, which is beyond what the kernel/,
    ],
    ['far beyond it', image([2n ** 63n - 1n, 0n]), /beyond what the kernel can count from/],
    [
      'with more nanoseconds than a second has',
      image([5n, 1_000_000_000n]),
      /^is damaged: its monotonic clock has 1000000000/,
    ],
    ['with negative nanoseconds', image([5n, 0n], [5n, -1n]), /^is damaged: its boottime clock has/],
  ] as const) {
    it(`are refused for clocks that are ${what}`, () => {
      const offsets = offsetsOf({ image: bytes, now: both([1n, 0n]), own: none });
      assert.equal(typeof offsets, 'string');
      assert.match(offsets as string, reason);
    });
  }

  it('are read from the kernel’s two lines', () => {
    assert.deepEqual(parseOffsets('monotonic          -7 999999999\nboottime            0         0\n'), {
      monotonic: { seconds: -7n, nanoseconds: 999_999_999n },
      boottime: { seconds: 0n, nanoseconds: 0n },
    });
    for (const text of [
      '',
      'monotonic 0 0\n',
      'monotonic 0\nboottime 0 0\n',
      'monotonic 0 0 0\nboottime 0 0\n',
    ]) {
      assert.throws(() => parseOffsets(text), /timens_offsets has no line/);
    }
  });
});
