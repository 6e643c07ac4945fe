import assert from 'node:assert/strict';
import { encodeRequest, encodeResponse } from '../../../src/protocol/codec.ts';
import { ReqType } from '../../../src/protocol/messages.ts';
import { criuReq, messages } from '../../../src/protocol/schema.ts';
import { scanRequest, scanResponse } from '../../../src/protocol/strict.ts';
import { everyOption, requests, responses } from './samples.ts';
import { len, num, packet, seeded, tag, varint } from './wire-bytes.ts';

const DUMP = num(1, 1);

/** A DUMP with these options after images_dir_fd = 5. */
function dumpWith(...options: readonly (readonly number[])[]): Buffer {
  return packet(DUMP, len(2, [...num(1, 5), ...options.flat()]));
}

function refuses(what: string, bytes: Buffer, reason: string): void {
  it(`refuses ${what}`, () => {
    assert.deepEqual(scanRequest(bytes), { ok: false, reason });
  });
}

function accepts(what: string, bytes: Buffer): void {
  it(`accepts ${what}`, () => {
    assert.deepEqual(scanRequest(bytes), { ok: true });
  });
}

describe('the strict scan', () => {
  describe('of fields', () => {
    refuses(
      'an unknown field',
      packet(DUMP, num(7, 1)),
      'criu_req (byte 2) has a field 7, which criu_req does not have',
    );
    refuses(
      'an unknown option',
      dumpWith(num(40, 1)),
      'opts (byte 6) has a field 40, which criu_opts does not have',
    );
    refuses('a scalar given twice', packet(DUMP, DUMP), 'type (byte 2) is given twice');
    refuses('an option given twice', dumpWith(num(1, 5)), 'opts.images_dir_fd (byte 6) is given twice');
    refuses(
      'an embedded message given twice, which parsers merge differently',
      packet(DUMP, len(2, num(1, 5)), len(2, num(1, 5))),
      'opts (byte 6) is given twice',
    );
    refuses(
      'a request without a type',
      packet(len(2, num(1, 5))),
      'criu_req (byte 0) lacks type, which is required',
    );
    refuses('no bytes at all', packet(), 'criu_req (byte 0) lacks type, which is required');
    refuses(
      'opts without images_dir_fd',
      packet(DUMP, len(2, [])),
      'opts (byte 4) lacks images_dir_fd, which is required',
    );
    refuses(
      'an entry of a list without its required field',
      dumpWith(len(27, len(1, 'a'))),
      'opts.inherit_fd (byte 9) lacks fd, which is required',
    );
    accepts(
      'fields of a list as often as they come',
      dumpWith(len(37, 'a'), len(37, 'a'), len(27, [...num(2, 1), ...len(1, 'a')])),
    );
  });

  describe('of lists', () => {
    const skipped = (count: number): number[] => Array.from({ length: count }, () => len(31, [])).flat();
    accepts('256 entries', dumpWith(skipped(256)));
    refuses(
      'more, in one list',
      dumpWith(skipped(257)),
      'opts.skip_mnt (byte 775) is one entry too many: a request may have 256 in its lists',
    );
    refuses(
      'more, in several',
      dumpWith(skipped(256), len(32, [])),
      'opts.enable_fs (byte 775) is one entry too many: a request may have 256 in its lists',
    );
  });

  describe('of tags', () => {
    refuses(
      'field number 0',
      packet(DUMP, [0, 0]),
      'criu_req (byte 2) has a tag without a valid field number',
    );
    refuses(
      'a field number beyond 29 bits, which protobufjs takes for the type',
      packet(DUMP, varint((1n << 32n) | 16n), [0]),
      'criu_req (byte 2) has a tag without a valid field number',
    );
    refuses(
      'a tag with a longer spelling',
      packet([0x88, 0, 1]),
      'criu_req (byte 0) has a tag that is not in its shortest form',
    );
    refuses('a tag that is cut off', packet(DUMP, [0x80]), 'criu_req (byte 2) has a tag that is cut off');
    refuses(
      'a tag that never ends',
      packet(DUMP, Array(11).fill(0xff)),
      'criu_req (byte 2) has a tag of more than 10 bytes',
    );
  });

  describe('of wire types', () => {
    refuses('a number as bytes', packet(len(1, [1])), 'type (byte 0) comes as bytes where varint is due');
    refuses(
      'a bool as bytes, which CRIU would believe',
      packet(DUMP, len(4, [1])),
      'keep_open (byte 2) comes as bytes where varint is due',
    );
    refuses(
      'a string as a number',
      dumpWith(num(10, 1)),
      'opts.log_file (byte 6) comes as varint where bytes is due',
    );
    refuses(
      'a message as a number',
      packet(DUMP, num(2, 1)),
      'opts (byte 2) comes as varint where bytes is due',
    );
    refuses('fixed32', packet(tag(1, 5), [1, 0, 0, 0]), 'type (byte 0) comes as fixed32 where varint is due');
    refuses(
      'fixed64',
      packet(tag(1, 1), [1, 0, 0, 0, 0, 0, 0, 0]),
      'type (byte 0) comes as fixed64 where varint is due',
    );
    refuses(
      'a group',
      packet(DUMP, tag(2, 3), tag(2, 4)),
      'opts (byte 2) comes as start of a group where bytes is due',
    );
    refuses(
      'the end of a group',
      packet(DUMP, tag(2, 4)),
      'opts (byte 2) comes as end of a group where bytes is due',
    );
    refuses('wire type 6', packet(DUMP, tag(2, 6)), 'opts (byte 2) comes as wire type 6 where bytes is due');
    refuses('wire type 7', packet(DUMP, tag(2, 7)), 'opts (byte 2) comes as wire type 7 where bytes is due');
  });

  describe('of numbers', () => {
    accepts('the largest and the smallest int32', dumpWith(num(2, 2147483647), num(17, -2147483648n)));
    accepts('minus one in ten bytes, the form that all encoders write', dumpWith(num(49, -1n)));
    refuses(
      'minus one in five bytes',
      dumpWith(num(2, 0xffffffff)),
      'opts.pid (byte 7) is out of the range of an int32',
    );
    refuses(
      'an int32 above its range',
      dumpWith(num(2, 2147483648)),
      'opts.pid (byte 7) is out of the range of an int32',
    );
    refuses(
      'an int32 below its range',
      dumpWith(num(2, -2147483649n)),
      'opts.pid (byte 7) is out of the range of an int32',
    );
    accepts('the largest uint32', dumpWith(num(20, 0xffffffff)));
    refuses(
      'a uint32 above its range',
      dumpWith(num(45, 2 ** 32)),
      'opts.timeout (byte 8) is out of the range of a uint32',
    );
    refuses(
      'a negative uint32',
      dumpWith(num(45, -1n)),
      'opts.timeout (byte 8) is out of the range of a uint32',
    );
    refuses('an undefined request type', packet(num(1, 14)), 'type (byte 1) is no value of criu_req_type');
    refuses('a negative request type', packet(num(1, -1n)), 'type (byte 1) is no value of criu_req_type');
    refuses(
      'an enum that is defined only in its lower half',
      packet(num(1, 2 ** 32 + 1)),
      'type (byte 1) is no value of criu_req_type',
    );
    refuses(
      'an undefined cgroup mode',
      dumpWith(num(34, 7)),
      'opts.manage_cgroups_mode (byte 8) is no value of criu_cg_mode',
    );
    refuses(
      'network lock 0, which has no name',
      dumpWith(num(64, 0)),
      'opts.network_lock (byte 8) is no value of criu_network_lock_method',
    );
    refuses('a bool of 2', packet(DUMP, num(3, 2)), 'notify_success (byte 3) is a bool other than 0 and 1');
    refuses(
      'a bool that is zero in its lower half',
      packet(DUMP, num(3, 2 ** 32)),
      'notify_success (byte 3) is a bool other than 0 and 1',
    );
    refuses(
      'a value with a longer spelling',
      packet(tag(1, 0), varint(1, 1)),
      'type (byte 1) has a value that is not in its shortest form',
    );
    refuses(
      'a zero with a longer spelling',
      packet(tag(1, 0), varint(0, 1)),
      'type (byte 1) has a value that is not in its shortest form',
    );
    refuses(
      'a tenth byte with bits that fit nowhere',
      dumpWith(tag(2, 0), [...Array(9).fill(0xff), 0x03]),
      'opts.pid (byte 7) has a value that is not in its shortest form',
    );
    refuses(
      'a value that is cut off',
      packet(DUMP, tag(6, 0), [0x80]),
      'pid (byte 3) has a value that is cut off',
    );
    refuses('a value that is missing', packet(tag(1, 0)), 'type (byte 1) has a value that is cut off');
    refuses(
      'a value that never ends',
      packet(tag(1, 0), Array(11).fill(0x80)),
      'type (byte 1) has a value of more than 10 bytes',
    );
  });

  describe('of lengths', () => {
    refuses(
      'a length with a longer spelling',
      dumpWith(tag(10, 2), varint(1, 1), [0x61]),
      'opts.log_file (byte 7) has a length that is not in its shortest form',
    );
    refuses(
      'a length beyond the packet',
      packet(DUMP, tag(2, 2), [3], num(1, 5)),
      'opts (byte 4) needs 3 bytes where 2 are left',
    );
    refuses(
      'a string that reaches beyond its message into the next field',
      packet(DUMP, tag(2, 2), [5], num(1, 5), tag(10, 2), [2], [0x61], num(3, 1)),
      'opts.log_file (byte 8) needs 2 bytes where 1 are left',
    );
    refuses(
      'a length beyond 32 bits, whose lower half would fit',
      dumpWith(tag(10, 2), varint(2n ** 32n + 1n), [0x61]),
      'opts.log_file (byte 7) has a length beyond 32 bits',
    );
    refuses(
      'a length that is missing',
      packet(DUMP, tag(2, 2)),
      'opts (byte 3) has a length that is cut off',
    );
    refuses(
      'bytes behind the last field',
      packet(DUMP, [0x61]),
      'criu_req (byte 2) has a field 12, which criu_req does not have',
    );
  });

  describe('of strings', () => {
    refuses(
      'a lone continuation byte',
      dumpWith(len(10, [0x80])),
      'opts.log_file (byte 8) is not valid UTF-8',
    );
    refuses(
      'an overlong slash',
      dumpWith(len(10, [0xc0, 0xaf])),
      'opts.log_file (byte 8) is not valid UTF-8',
    );
    refuses(
      'half a surrogate pair',
      dumpWith(len(10, [0xed, 0xa0, 0x80])),
      'opts.log_file (byte 8) is not valid UTF-8',
    );
    refuses(
      'a character that is cut off',
      dumpWith(len(10, [0xe2, 0x82])),
      'opts.log_file (byte 8) is not valid UTF-8',
    );
    refuses(
      'a NUL, behind which CRIU reads nothing',
      dumpWith(len(10, 'a\0b')),
      'opts.log_file (byte 9) has a NUL in it',
    );
    refuses(
      'a NUL in an entry of a list',
      dumpWith(len(19, [...len(1, 'a'), ...len(2, '\0')])),
      'opts.veths.if_out (byte 14) has a NUL in it',
    );
    refuses(
      'an invalid string in a nested message',
      dumpWith(len(11, len(1, [0xff]))),
      'opts.ps.address (byte 10) is not valid UTF-8',
    );
    accepts(
      'every kind of valid UTF-8, and an empty string',
      dumpWith(len(10, 'aé€🦥\u{feff}'), len(13, '')),
    );
  });

  describe('of honest packets', () => {
    it('accepts all packets of the codec, with every field of rpc.proto set', () => {
      for (const request of requests) assert.deepEqual(scanRequest(encodeRequest(request)), { ok: true });
      for (const response of responses)
        assert.deepEqual(scanResponse(encodeResponse(response)), { ok: true });
      assert.equal(Object.keys(everyOption.opts ?? {}).length, messages.get('criu_opts')?.fields.size);
      assert.equal(Object.keys(everyOption).length, criuReq.fields.size);
    });

    it('accepts every request type', () => {
      for (let type = ReqType.EMPTY; type <= ReqType.SINGLE_PRE_DUMP; type++) {
        assert.deepEqual(scanRequest(packet(num(1, type))), { ok: true });
      }
    });

    it('accepts the fields in any order (seed 7, 200 orders)', () => {
      const random = seeded(7);
      const options = [
        num(1, 5),
        num(2, 3),
        len(10, 'x'),
        num(49, -1n),
        len(37, 'a'),
        len(37, 'b'),
        len(11, num(2, 1)),
        num(64, 3),
      ];
      for (let round = 0; round < 200; round++) {
        const opts = len(2, shuffled(options, random).flat());
        const bytes = packet(...shuffled([DUMP, opts, num(4, 0), num(6, 9)], random));
        assert.deepEqual(scanRequest(bytes), { ok: true }, bytes.toString('hex'));
      }
    });

    it('refuses every packet that is cut short within a field', () => {
      const whole = encodeRequest(everyOption);
      const accepted = [...whole.keys()].filter((end) => scanRequest(whole.subarray(0, end)).ok);
      // A shorter packet is whole only if it ends between two of the six fields of criu_req.
      assert.equal(accepted.length, 5, accepted.join());
    });
  });

  it('reads requests as requests and responses as responses', () => {
    assert.equal(scanResponse(packet(DUMP)).ok, false);
    assert.equal(
      scanRequest(encodeResponse({ type: ReqType.DUMP, success: true, cr_errmsg: 'x' })).ok,
      false,
    );
  });

  it('takes a few microseconds a packet', () => {
    const bytes = encodeRequest({
      type: ReqType.DUMP,
      opts: { images_dir_fd: 3, pid: 42, log_file: 'dump.log', log_level: 4 },
    });
    for (let round = 0; round < 2000; round++) scanRequest(bytes);
    // Of this process alone, whatever others do meanwhile.
    const start = process.cpuUsage();
    for (let round = 0; round < 2000; round++) scanRequest(bytes);
    const { user, system } = process.cpuUsage(start);
    const each = (user + system) / 2000;
    // Generous: a scan is around one microsecond.
    assert.ok(each < 100, `${each} µs`);
  });
});

function shuffled<T>(items: readonly T[], random: (limit: number) => number): T[] {
  const left = [...items];
  const out: T[] = [];
  while (left.length > 0) out.push(...left.splice(random(left.length), 1));
  return out;
}
