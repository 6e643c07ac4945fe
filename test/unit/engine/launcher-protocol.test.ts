import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';
import { endianness } from 'node:os';
import {
  ClocksFault,
  decodeAnswer,
  encodeClocks,
  encodeParameters,
  FileFault,
  type LauncherClocks,
  type LaunchParameters,
  labelFor,
  launcherFds,
  launchSteps,
  maxAnswerBytes,
  maxLauncherGroups,
  maxLauncherStringBytes,
  proofFaults,
  TimeFault,
} from '../../../src/engine/launcher-protocol.ts';

const header = readFileSync(new URL('../../../native/launcher/protocol.h', import.meta.url), 'utf8');

const parameters: LaunchParameters = {
  handOver: false,
  pid: 1234,
  uid: 1500,
  gid: 1501,
  groups: [4242424242, 7, 1501],
  umask: 0o27,
  noNewPrivs: true,
  bounding: 0x1_ffff_ffffn,
  inheritable: 0x100_0000_2000n,
  ambient: 0x2000n,
  criu: '/usr/sbin/criu',
  config: '/c',
  preload: '/p',
  noCapability: false,
  joinTime: false,
  ownClocks: false,
  imagesDir: '/images',
  statusFd: 9,
};

/** The bodies of enumerations without comments: names, in order. */
function enumerators(name: string): string[] {
  const body = new RegExp(`enum (?:class )?${name}[^{]*\\{([^}]*)\\}`).exec(header);
  assert.ok(body, `protocol.h has no enum ${name}`);
  return body[1]!
    .replace(/\/\/.*$/gm, '')
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

const kebab = (name: string): string => name.replace(/(?<!^)[A-Z]/g, (letter) => `-${letter}`).toLowerCase();

const constant = (name: string): number =>
  Number(new RegExp(`constexpr \\w+ ${name} = (0x[0-9a-f]+|\\d+);`).exec(header)![1]);

describe('the launcher protocol in TypeScript and in native/launcher/protocol.h agree', () => {
  it('in the numbers of the steps', () => {
    const names = enumerators('Step').map((item) => kebab(item.replace(/^k/, '').replace(/ = .*/, '')));
    assert.deepEqual(names, [...launchSteps]);
  });

  it('in the faults of files and of the proof', () => {
    const files = enumerators('FileFault').map((item) => /^kFile(\w+) = (\d+)$/.exec(item)!);
    assert.deepEqual(
      Object.fromEntries(
        files.map((match) => [match[1]!.replace(/^./, (c) => c.toLowerCase()), Number(match[2])]),
      ),
      FileFault,
    );
    const proofs = enumerators('ProofFault').map((item) => /^kProof(\w+) = (\d+)$/.exec(item)!);
    assert.deepEqual(
      proofs.map((match) => [kebab(match[1]!), Number(match[2])]),
      proofFaults.map((name, index) => [name, index + 1]),
    );
  });

  it('in the faults of time namespaces and clocks', () => {
    for (const [name, faults] of [
      ['Time', TimeFault],
      ['Clocks', ClocksFault],
    ] as const) {
      const found = enumerators(`${name}Fault`).map(
        (item) => new RegExp(`^k${name}(\\w+) = (\\d+)$`).exec(item)!,
      );
      assert.deepEqual(
        Object.fromEntries(
          found.map((match) => [match[1]!.replace(/^./, (c) => c.toLowerCase()), Number(match[2])]),
        ),
        faults,
      );
    }
  });

  it('in the descriptors and the limits', () => {
    assert.deepEqual(enumerators('StartFd'), [
      `kControlFd = ${launcherFds.control}`,
      `kCallerPidfd = ${launcherFds.callerPidfd}`,
      `kCallerProcFd = ${launcherFds.callerProc}`,
      `kCallerSocketFd = ${launcherFds.callerSocket}`,
      `kTimePidfd = ${launcherFds.timePidfd}`,
      `kCgroupFd = ${launcherFds.cgroup}`,
    ]);
    assert.equal(constant('kMaxGroups'), maxLauncherGroups);
    assert.equal(constant('kMaxStringSize'), maxLauncherStringBytes);
    assert.equal(56 + constant('kMaxOwnOffsets') + constant('kMaxClocksImage'), maxAnswerBytes);
    assert.match(header, /sizeof\(ClocksPacket\) == 56 \+ kMaxOwnOffsets \+ kMaxClocksImage\b/);
  });
});

describe('launcher parameters', () => {
  const little = endianness() === 'LE';
  const encoded = encodeParameters(parameters);
  const view = new DataView(encoded.buffer, encoded.byteOffset, encoded.length);
  const word = (offset: number): number => view.getUint32(offset, little);

  it('have the layout of the header', () => {
    assert.deepEqual([0, 4, 8, 12, 16, 20, 24].map(word), [
      constant('kMagic'),
      constant('kVersion'),
      1,
      1234,
      1500,
      1501,
      0o27,
    ]);
    assert.deepEqual(
      [28, 32, 36].map((offset) => view.getInt32(offset, little)),
      [-1, -1, 9],
    );
    assert.deepEqual(
      [40, 48, 56].map((offset) => view.getBigUint64(offset, little)),
      [0x1_ffff_ffffn, 0x100_0000_2000n, 0x2000n],
    );
    assert.deepEqual([64, 68, 72, 76, 80, 84, 88, 92].map(word), [3, 15, 3, 8, 0, 0, 3, 0]);
    assert.deepEqual([96, 100, 104].map(word), [7, 1501, 4242424242]);
    assert.equal(encoded.subarray(108).toString(), '/usr/sbin/criu\0/c\0/images\0/p\0');
    assert.match(header, /sizeof\(Parameters\) == 96\b/);
  });

  it('have a separate flag for each question', () => {
    const flagsOf = (changes: Partial<LaunchParameters>): number => {
      const packet = encodeParameters({ ...parameters, noNewPrivs: false, ...changes });
      return new DataView(packet.buffer, packet.byteOffset).getUint32(8, little);
    };
    assert.deepEqual(
      [
        {},
        { noNewPrivs: true },
        { handOver: true },
        { noCapability: true },
        { joinTime: true },
        { ownClocks: true },
      ].map(flagsOf),
      [
        0,
        constant('kCallerHasNoNewPrivs'),
        constant('kHandOver'),
        constant('kNoCapability'),
        constant('kJoinTime'),
        constant('kOwnClocks'),
      ],
    );
  });

  it('are refused when the layout cannot hold them', () => {
    for (const changes of [
      { uid: -1 },
      { gid: 2 ** 32 },
      { pid: 1.5 },
      { statusFd: -1 },
      { imagesDirFd: 2 ** 31 },
      { bounding: -1n },
      { ambient: 1n << 64n },
      { criu: '/a\0b' },
      { config: `/${'x'.repeat(maxLauncherStringBytes)}` },
      { preload: '/a\0b' },
      { groups: Array.from({ length: maxLauncherGroups + 1 }, (_value, index) => index) },
    ]) {
      const [name] = Object.keys(changes);
      assert.throws(
        () => encodeParameters({ ...parameters, ...changes }),
        (error) => error instanceof RangeError && error.message.startsWith(`${name} must`),
        name,
      );
    }
  });

  it('fit into the default buffer of a socket even with every group and string at its longest', () => {
    const string = `/${'x'.repeat(maxLauncherStringBytes - 2)}`;
    const largest = encodeParameters({
      ...parameters,
      groups: Array.from({ length: maxLauncherGroups }, (_value, index) => index),
      criu: string,
      config: string,
      preload: string,
      imagesDir: string,
      label: { label: string, command: string },
    });
    assert.ok(largest.length < 212_992 - 32, String(largest.length));
  });
});

describe('launcher answers', () => {
  const answer = (kind: number, step: number, numbers: readonly number[], value: bigint): Buffer => {
    const little = endianness() === 'LE';
    const view = new DataView(new ArrayBuffer(40));
    [constant('kMagic'), constant('kVersion'), kind, step].forEach((word, index) => {
      view.setUint32(index * 4, word, little);
    });
    numbers.forEach((number, index) => {
      view.setInt32(16 + index * 4, number, little);
    });
    view.setBigInt64(32, value, little);
    return Buffer.from(view.buffer);
  };

  const clocksPacket = (
    image: string | undefined,
    own: string,
    imageBytes = image?.length ?? -1,
    ownBytes = own.length,
  ): Buffer => {
    const little = endianness() === 'LE';
    const packet = Buffer.alloc(maxAnswerBytes);
    const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
    [constant('kMagic'), constant('kVersion'), 3, 0, ownBytes].forEach((word, index) => {
      view.setUint32(index * 4, word, little);
    });
    view.setInt32(12, imageBytes, little);
    [1n, 2n, 3n, 4n].forEach((value, index) => {
      view.setBigInt64(24 + index * 8, value, little);
    });
    packet.write(own, 56);
    packet.write(image ?? '', 56 + 256);
    return packet;
  };

  it('name the descriptors that are present', () => {
    assert.deepEqual(decodeAnswer(answer(0, 0, [0, 4, -1, 5], 0n)), {
      kind: 'ready',
      files: { images_dir_fd: 4, status_fd: 5 },
    });
  });

  it('carry step, errno and value of a failure', () => {
    assert.deepEqual(decodeAnswer(answer(1, launchSteps.indexOf('images'), [13, -1, -1, -1], -1n)), {
      kind: 'failed',
      step: 'images',
      error: 13,
      value: -1n,
    });
  });

  it('report that the library was loaded', () => {
    assert.deepEqual(decodeAnswer(answer(2, 0, [0, -1, -1, -1], 0n)), { kind: 'guarded' });
    assert.match(
      header,
      /enum class Kind : uint32_t \{ kReady = 0, kFailed = 1, kGuarded = 2, kClocks = 3, kBorn = 4 \};/,
    );
  });

  it('report the process that goes on in the cgroup', () => {
    assert.deepEqual(decodeAnswer(answer(4, 0, [0, -1, -1, -1], 4711n)), { kind: 'born', pid: 4711 });
  });

  it('name the time namespace that was made for the engine', () => {
    assert.deepEqual(decodeAnswer(answer(0, 0, [0, -1, -1, -1], 4026532345n)), {
      kind: 'ready',
      files: {},
      timeNamespace: 'time:[4026532345]',
    });
  });

  it('carry the image with the clocks, the clocks now, and the offsets of their namespace', () => {
    assert.deepEqual(decodeAnswer(clocksPacket('an image', 'offsets')), {
      kind: 'clocks',
      image: Buffer.from('an image'),
      now: {
        monotonic: { seconds: 1n, nanoseconds: 2n },
        boottime: { seconds: 3n, nanoseconds: 4n },
      },
      own: 'offsets',
    });
    const { image, ...without } = decodeAnswer(clocksPacket(undefined, '')) as LauncherClocks;
    assert.deepEqual([image, without.own], [undefined, '']);
  });

  it('throw if no launcher of this version sends them', () => {
    const good = answer(0, 0, [0, -1, -1, -1], 0n);
    for (const bad of [
      good.subarray(0, 39),
      Buffer.concat([good, Buffer.alloc(1)]),
      Buffer.alloc(40),
      answer(3, 0, [0, -1, -1, -1], 0n),
      answer(5, 0, [0, -1, -1, -1], 0n),
      clocksPacket('an image', '').subarray(0, maxAnswerBytes - 1),
      clocksPacket('an image', '', 4097),
      clocksPacket('an image', '', -2),
      clocksPacket('an image', '', 8, 257),
      Buffer.concat([clocksPacket('an image', ''), Buffer.alloc(1)]),
      answer(1, launchSteps.length, [0, -1, -1, -1], 0n),
    ]) {
      assert.throws(() => decodeAnswer(bad), RangeError);
    }
  });
});

describe('the answer to a launcher that asks for clocks', () => {
  const little = endianness() === 'LE';

  it('has the offsets of both clocks, also before the host’s', () => {
    const packet = encodeClocks({
      monotonic: { seconds: -5n, nanoseconds: 6n },
      boottime: { seconds: 7n, nanoseconds: 999_999_999n },
    });
    assert.match(header, new RegExp(`sizeof\\(ClocksAnswer\\) == ${packet.length}\\b`));
    const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
    assert.deepEqual(
      [0, 4, 8, 12].map((at) => view.getUint32(at, little)),
      [constant('kMagic'), constant('kVersion'), 1, 0],
    );
    assert.deepEqual(
      [16, 24, 32, 40].map((at) => view.getBigInt64(at, little)),
      [-5n, 6n, 7n, 999_999_999n],
    );
  });

  it('leaves the clocks as they are, if there are none to be set', () => {
    const packet = encodeClocks(undefined);
    assert.equal(packet.readUInt32LE(8), 0);
    assert.ok(packet.subarray(12).equals(Buffer.alloc(36)));
  });
});

describe('labelFor', () => {
  it('leaves a label of SELinux as it is', () => {
    const label = 'user_u:user_r:user_t:s0';
    assert.deepEqual(labelFor(label, 'selinux'), { label, command: label });
  });

  it("names AppArmor's profile without its mode", () => {
    assert.deepEqual(labelFor('snap.foo.bar (enforce)', 'apparmor'), {
      label: 'snap.foo.bar (enforce)',
      command: 'exec snap.foo.bar',
    });
    assert.equal(labelFor('unconfined', 'apparmor').command, 'exec unconfined');
  });
});
