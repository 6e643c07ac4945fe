import assert from 'node:assert/strict';
import { endianness } from 'node:os';
import { decodeClocksImage } from '../../../src/protocol/clocks-image.ts';
import { len, num, packet, seeded, tag, varint } from './wire-bytes.ts';

const seed = Number(process.env.CRIU_FUZZ_SEED ?? 2013);
const count = Number(process.env.CRIU_FUZZ_COUNT ?? 20_000);

const common = 0x54564319;
const timens = 0x43114433;

function image(
  message: Buffer,
  { magic = [common, timens], size = message.length }: { magic?: number[]; size?: number } = {},
): Buffer {
  const head = new DataView(new ArrayBuffer(12));
  [...magic, size].forEach((word, at) => {
    head.setUint32(at * 4, word, endianness() === 'LE');
  });
  return Buffer.concat([new Uint8Array(head.buffer), message]);
}

const time = (seconds: number | bigint, nanoseconds: number | bigint): number[] => [
  ...num(1, seconds),
  ...num(2, nanoseconds),
];

const clocks = packet(len(1, time(26_082, 834_935_000)), len(2, time(2n ** 64n - 1n, 2n ** 40n)));

describe('the image with the clocks', () => {
  it('tells both clocks at the dump, whatever their values', () => {
    assert.deepEqual(decodeClocksImage(image(clocks)), {
      monotonic: { seconds: 26_082n, nanoseconds: 834_935_000n },
      boottime: { seconds: 2n ** 64n - 1n, nanoseconds: 2n ** 40n },
    });
  });

  for (const [what, bytes, reason] of [
    ['nothing in it', Buffer.alloc(0), /^ends after 0 bytes$/],
    ['an incomplete head', image(clocks).subarray(0, 11), /^ends after 11 bytes$/],
    ['the head of another kind of image', image(clocks, { magic: [common, 1] }), /^does not begin as CRIU/],
    ['the head of a log', image(clocks, { magic: [timens, common] }), /^does not begin as CRIU/],
    ['a message that is cut off', image(clocks).subarray(0, -1), /^announces \d+ bytes and has \d+$/],
    ['bytes behind the message', Buffer.concat([image(clocks), Buffer.from([0])]), /^announces/],
    ['an announcement of four gigabytes', image(clocks, { size: 0xffffffff }), /^announces 4294967295 bytes/],
    ['an empty message', image(Buffer.alloc(0)), /cut off/],
    ['one clock', image(packet(len(1, time(1, 2)))), /cut off/],
    [
      'its clocks in another order',
      image(packet(len(2, time(1, 2)), len(1, time(1, 2)))),
      /not the tag of field 1/,
    ],
    [
      'a third clock',
      image(Buffer.concat([clocks, packet(len(1, time(1, 2)))])),
      /^has more than two clocks$/,
    ],
    ['an unknown field', image(packet(len(1, time(1, 2)), len(3, time(1, 2)))), /not the tag of field 2/],
    ['a clock without nanoseconds', image(packet(len(1, num(1, 1)), len(2, time(1, 2)))), /cut off/],
    [
      'a clock with a third number',
      image(packet(len(1, [...time(1, 2), ...num(3, 1)]), len(2, time(1, 2)))),
      /third number/,
    ],
    [
      'a number as bytes',
      image(packet(len(1, [...len(1, 'x'), ...num(2, 1)]), len(2, time(1, 2)))),
      /not the tag/,
    ],
    ['a clock as a number', image(packet(num(1, 5), len(2, time(1, 2)))), /not the tag of field 1/],
    [
      'a clock that is longer than the image',
      image(packet([...tag(1, 2), ...varint(100)], time(1, 2))),
      /needs 100 bytes where \d+ are left/,
    ],
    [
      'a number in a longer spelling',
      image(packet(len(1, [...tag(1, 0), ...varint(1, 1), ...num(2, 1)]), len(2, time(1, 2)))),
      /longer spelling/,
    ],
    [
      'a number of eleven bytes',
      image(packet(len(1, [...tag(1, 0), ...varint(1, 10), ...num(2, 1)]), len(2, time(1, 2)))),
      /more than 10 bytes/,
    ],
  ] as const) {
    it(`with ${what} is damaged`, () => {
      const decoded = decodeClocksImage(bytes);
      assert.equal(typeof decoded, 'string', JSON.stringify(String(decoded)));
      assert.match(decoded as string, reason);
    });
  }

  it(`has one spelling for each pair of clocks, and no bytes make its reading throw (seed ${seed}, ${count} images)`, () => {
    const random = seeded(seed);
    let passed = 0;
    for (let round = 0; round < count; round++) {
      const bytes = Buffer.from(
        image(packet(len(1, time(random(1 << 30), 2)), len(2, time(3, random(1 << 30))))),
      );
      for (let left = random(3); left > 0; left--) bytes[random(bytes.length)] = random(256);
      const cut = random(4) === 0 ? bytes.subarray(0, random(bytes.length)) : bytes;
      const decoded = decodeClocksImage(cut);
      if (typeof decoded === 'string') continue;
      passed++;
      const { monotonic, boottime } = decoded;
      const again = packet(
        len(1, time(monotonic.seconds, monotonic.nanoseconds)),
        len(2, time(boottime.seconds, boottime.nanoseconds)),
      );
      assert.ok(image(again).equals(cut), cut.toString('hex'));
    }
    assert.ok(passed > count / 20, `only ${passed} images passed`);
  });
});
