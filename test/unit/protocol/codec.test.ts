import assert from 'node:assert/strict';
import {
  type DecodeMode,
  decodeRequest,
  decodeResponse,
  encodeRequest,
  encodeResponse,
} from '../../../src/protocol/codec.ts';
import { type CriuReq, ReqType } from '../../../src/protocol/messages.ts';
import { requests, responses } from './samples.ts';
import { len, num, packet, tag, varint } from './wire-bytes.ts';

const modes: readonly DecodeMode[] = ['lenient', 'strict'];

describe('the codec', () => {
  for (const mode of modes) {
    it(`gives back every message that it wrote (${mode})`, () => {
      for (const request of requests) {
        const decoded = decodeRequest(encodeRequest(request), mode);
        assert.ok(decoded.kind === 'request');
        assert.deepEqual(plain(decoded.message), plain(request));
      }
      for (const response of responses) {
        const decoded = decodeResponse(encodeResponse(response), mode);
        assert.ok(decoded.kind === 'response');
        assert.deepEqual(plain(decoded.message), plain(response));
      }
    });

    it(`tells an absent option from an option with its default value (${mode})`, () => {
      const message = read(packet(num(1, 1), len(2, [...num(1, 5), ...num(9, 2), ...num(17, 0)])), mode);
      assert.equal(message.opts?.log_level, 2);
      assert.equal(message.opts?.work_dir_fd, 0);
      assert.equal(message.opts?.pid ?? undefined, undefined);
      assert.equal(message.opts?.cpu_cap ?? undefined, undefined);
    });

    it(`gives an absent list as an empty list (${mode})`, () => {
      const message = read(packet(num(1, 1), len(2, num(1, 5))), mode);
      assert.deepEqual(message.opts?.external, []);
      assert.deepEqual(message.opts?.inherit_fd, []);
    });
  }

  it('writes packets that later packets do not overwrite', () => {
    const first = encodeRequest({ type: ReqType.VERSION });
    const before = first.toString('hex');
    for (let round = 0; round < 100; round++) encodeRequest({ type: ReqType.CHECK });
    assert.ok(Buffer.isBuffer(first));
    assert.equal(first.toString('hex'), before);
  });

  it('gives a reason for a malformed packet', () => {
    const bytes = packet(num(1, 1), len(2, [...num(1, 5), ...tag(10, 2), 9]));
    const reason = 'opts.log_file (byte 8) needs 9 bytes where 0 are left';
    for (const mode of modes) assert.deepEqual(decodeRequest(bytes, mode), { kind: 'malformed', reason });
  });
});

describe('a client of 2013', () => {
  // By hand, from the first rpc.proto: type = DUMP, images_dir_fd = 4, pid = 300, leave_running, shell_job, log_level = 4,
  // log_file = "dump.log".
  const dump = Buffer.from('08011215080410ac02180138014804520864756d702e6c6f67', 'hex');

  for (const mode of modes) {
    it(`can ask for a DUMP (${mode})`, () => {
      assert.deepEqual(plain(read(dump, mode)), {
        type: ReqType.DUMP,
        opts: {
          images_dir_fd: 4,
          pid: 300,
          leave_running: true,
          shell_job: true,
          log_level: 4,
          log_file: 'dump.log',
        },
      });
    });

    it(`can ask for a dump of itself, with the directory as the only option (${mode})`, () => {
      const message = read(Buffer.from('080112020804', 'hex'), mode);
      assert.deepEqual(plain(message), { type: ReqType.DUMP, opts: { images_dir_fd: 4 } });
    });

    it(`can ask for a RESTORE, with the options first (${mode})`, () => {
      const message = read(Buffer.from('120208030802', 'hex'), mode);
      assert.deepEqual(plain(message), { type: ReqType.RESTORE, opts: { images_dir_fd: 3 } });
    });
  }

  it('gets the bytes that it knows', () => {
    const dumped = encodeResponse({ type: ReqType.DUMP, success: true, dump: { restored: false } });
    assert.equal(dumped.toString('hex'), '080110011a020800');
    const restored = encodeResponse({ type: ReqType.RESTORE, success: true, restore: { pid: 300 } });
    assert.equal(restored.toString('hex'), '08021001220308ac02');
  });
});

describe('lenient decoding reads a packet as CRIU does', () => {
  const opts = (...options: readonly (readonly number[])[]) => len(2, options.flat());
  const fd = num(1, 5);

  it('takes the later of two scalars', () => {
    assert.equal(read(packet(num(1, 1), num(1, 2)), 'lenient').type, ReqType.RESTORE);
  });

  it('does not hide an unknown request type behind an earlier known type', () => {
    assert.equal(read(packet(num(1, 1), num(1, 99)), 'lenient').type, 99);
    assert.equal(read(packet(num(1, -1n)), 'lenient').type, -1);
  });

  it('does not hide an unknown value of an option', () => {
    assert.equal(read(packet(num(1, 1), opts(fd, num(64, 77))), 'lenient').opts?.network_lock, 77);
  });

  it('merges embedded messages and collects lists', () => {
    const message = read(
      packet(
        num(1, 1),
        opts(fd, num(2, 3), len(37, 'a'), len(11, num(2, 80))),
        opts(num(1, 6), num(17, 9), len(37, 'b'), len(11, len(1, 'host'))),
      ),
      'lenient',
    );
    assert.deepEqual(plain(message.opts), {
      images_dir_fd: 6,
      pid: 3,
      work_dir_fd: 9,
      external: ['a', 'b'],
      ps: { port: 80, address: 'host' },
    });
  });

  it('reads opts without images_dir_fd as -1, even after opts that had it', () => {
    assert.equal(read(packet(num(1, 1), opts()), 'lenient').opts?.images_dir_fd, -1);
    assert.equal(read(packet(num(1, 1), opts(fd), opts(num(2, 3))), 'lenient').opts?.images_dir_fd, -1);
  });

  it('keeps the lower 32 bits of a number', () => {
    const message = read(
      packet(num(1, 1), opts(fd, num(2, 2 ** 32 + 7), num(49, 0xffffffff), num(45, -1n))),
      'lenient',
    );
    assert.deepEqual(plain(message.opts), { images_dir_fd: 5, pid: 7, status_fd: -1, timeout: 0xffffffff });
  });

  it('reads a bool in any spelling and any wire type', () => {
    assert.equal(read(packet(num(1, 1), num(4, 2 ** 32)), 'lenient').keep_open, true);
    assert.equal(read(packet(num(1, 1), len(4, [0])), 'lenient').keep_open, true);
    assert.equal(read(packet(num(1, 1), len(4, [])), 'lenient').keep_open, false);
    assert.equal(read(packet(num(1, 1), tag(4, 5), [0, 0, 0x80, 0]), 'lenient').keep_open, false);
    assert.equal(read(packet(num(1, 1), tag(4, 0), varint(0, 2)), 'lenient').keep_open, false);
  });

  it('ends a string at its NUL', () => {
    assert.equal(read(packet(num(1, 1), opts(fd, len(10, 'a\0/../b'))), 'lenient').opts?.log_file, 'a');
  });

  it('skips unknown fields of every wire type', () => {
    const unknown = [
      num(99, 1),
      len(98, 'x'),
      [...tag(97, 1), 1, 2, 3, 4, 5, 6, 7, 8],
      [...tag(96, 5), 1, 2, 3, 4],
    ];
    assert.deepEqual(plain(read(packet(...unknown, num(1, 3)), 'lenient')), { type: ReqType.CHECK });
    // Beyond 29 bits it is another field, although its lower bits say type.
    assert.equal(read(packet(num(1, 3), varint((1n << 32n) | 8n), [1]), 'lenient').type, ReqType.CHECK);
  });

  for (const [what, bytes] of [
    ['a request without a type', packet(num(4, 1))],
    ['an empty packet', packet()],
    ['an entry of a list without its required field', packet(num(1, 1), opts(fd, len(27, len(1, 'a'))))],
    ['a message as a number', packet(num(1, 1), num(2, 1))],
    ['a number as bytes', packet(len(1, [1]))],
    ['a string as a number', packet(num(1, 1), opts(fd, num(10, 1)))],
    ['a group', packet(num(1, 1), tag(99, 3), tag(99, 4))],
    ['field number 0', packet(num(1, 1), [0, 0])],
    ['a tag of six bytes', packet(num(1, 1), varint(64, 5), [1])],
    ['a length of six bytes', packet(num(1, 1), tag(2, 2), varint(2, 5), num(1, 5))],
    ['a length beyond 32 bits', packet(num(1, 1), tag(2, 2), varint(2n ** 32n + 2n), num(1, 5))],
    ['a string that is cut off', packet(num(1, 1), opts(fd, tag(10, 2), [2], [0x61]))],
    ['a number that is cut off', packet(num(1, 1), tag(6, 0), [0x80])],
    ['a fixed64 that is cut off', packet(num(1, 1), tag(99, 1), [1, 2, 3])],
  ] as const) {
    it(`cannot read ${what}`, () => {
      assert.equal(decodeRequest(bytes, 'lenient').kind, 'malformed');
    });
  }

  it('takes time in proportion to the packet, even if the packet is nothing but opts', () => {
    const list = len(2, [...fd, ...Array.from({ length: 50_000 }, () => len(37, '')).flat()]);
    const once = opts(fd, len(37, ''));
    const bytes = Buffer.concat([
      packet(num(1, 1), list),
      Buffer.alloc(once.length * 50_000, Buffer.from(once)),
    ]);
    // Of this process alone, whatever others do meanwhile.
    const start = process.cpuUsage();
    assert.equal(read(bytes, 'lenient').opts?.external?.length, 100_000);
    const { user, system } = process.cpuUsage(start);
    // Around 100 ms; copying the list for each opts would take minutes.
    assert.ok(user + system < 10_000_000, `${user + system} µs`);
  });
});

function read(bytes: Uint8Array, mode: DecodeMode): CriuReq {
  const decoded = decodeRequest(bytes, mode);
  assert.ok(decoded.kind === 'request', decoded.kind === 'malformed' ? decoded.reason : '');
  return decoded.message;
}

/** Without the empty lists of a decoded message, and without its class. */
function plain(message: unknown): unknown {
  return JSON.parse(
    JSON.stringify(message, (_, value) => (Array.isArray(value) && value.length === 0 ? undefined : value)),
  );
}
