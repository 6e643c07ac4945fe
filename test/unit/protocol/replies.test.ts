import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { decodeResponse, encodeResponse } from '../../../src/protocol/codec.ts';
import { type CriuResp, ReqType } from '../../../src/protocol/messages.ts';
import { fitReply, invalid, MAX_REPLY_BYTES, refusal, reworded } from '../../../src/protocol/replies.ts';
import { random } from '../../support/random.ts';
import { len, num, packet } from './wire-bytes.ts';

const { EPERM, EINVAL } = constants.errno;

/** Sentences of every length and width of character, around the limit and far beyond it. */
const sentences = [
  '',
  'No.',
  ...['a', 'é', '大', '🦥', 'a🦥'].flatMap((unit) => [300, 980, 1010, 1024, 5000].map((n) => unit.repeat(n))),
];

function sent(reply: CriuResp): CriuResp {
  const decoded = decodeResponse(encodeResponse(reply), 'strict');
  assert.ok(decoded.kind === 'response', decoded.kind === 'malformed' ? decoded.reason : '');
  return decoded.message;
}

describe('the service’s own reply', () => {
  it('names the type of the request, fails, and gives a reason', () => {
    const reply = sent(refusal(ReqType.CHECK, EPERM, 'Not you.'));
    assert.deepEqual(
      { ...reply },
      { type: ReqType.CHECK, success: false, cr_errno: EPERM, cr_errmsg: 'Not you.' },
    );
  });

  it('to a packet that is not a request has the type EMPTY, as from CRIU', () => {
    const reply = sent(invalid(EINVAL, 'What?'));
    assert.deepEqual(
      { ...reply },
      { type: ReqType.EMPTY, success: false, cr_errno: EINVAL, cr_errmsg: 'What?' },
    );
    assert.equal(refusal(99, EINVAL, 'What?').type, ReqType.EMPTY);
  });

  it('to DUMP and RESTORE holds the message that libcriu reads without a check', () => {
    assert.equal(sent(refusal(ReqType.DUMP, EPERM, '')).dump?.restored, false);
    assert.equal(sent(refusal(ReqType.RESTORE, EPERM, '')).restore?.pid, -1);
  });

  it('never has the type NOTIFY, because libcriu would read a notification that is absent', () => {
    assert.equal(refusal(ReqType.NOTIFY, EPERM, '').type, ReqType.EMPTY);
  });

  it('fits into the buffers of clients, with any sentence', () => {
    for (let type = ReqType.EMPTY; type <= ReqType.SINGLE_PRE_DUMP; type++) {
      for (const sentence of sentences) {
        const bytes = encodeResponse(refusal(type, 2147483647, sentence));
        assert.ok(bytes.length <= MAX_REPLY_BYTES, `${bytes.length} bytes`);
      }
    }
  });

  it('is cut between two characters, as late as possible, and then ends in an ellipsis', () => {
    for (const sentence of sentences) {
      const reply = refusal(ReqType.DUMP, EPERM, sentence);
      const bytes = encodeResponse(reply);
      const text = sent(reply).cr_errmsg ?? '';
      if (text === sentence) continue;
      assert.ok(text.endsWith('…') && sentence.startsWith(text.slice(0, -1)), text.slice(-4));
      assert.ok(bytes.length > MAX_REPLY_BYTES - 4, `${bytes.length} bytes`);
    }
    const exact = 'x'.repeat(MAX_REPLY_BYTES - encodeResponse(refusal(ReqType.CHECK, EPERM, '')).length - 1);
    assert.equal(refusal(ReqType.CHECK, EPERM, exact).cr_errmsg, exact);
    assert.notEqual(refusal(ReqType.CHECK, EPERM, `${exact}x`).cr_errmsg, `${exact}x`);
  });

  it('has no NUL in its sentence, because a client would stop reading there', () => {
    assert.equal(refusal(ReqType.CHECK, EPERM, 'a\0b').cr_errmsg, 'ab');
  });

  it('holds valid UTF-8 even if the sentence did not', () => {
    assert.equal(sent(refusal(ReqType.CHECK, EPERM, 'a\ud800b')).cr_errmsg, 'a\ufffdb');
  });
});

describe("an engine's reply", () => {
  it('is passed on unchanged if it fits', () => {
    const bytes = encodeResponse({
      type: ReqType.DUMP,
      success: true,
      dump: { restored: true },
      cr_errmsg: 'x'.repeat(900),
    });
    assert.equal(fitReply(bytes), bytes);
  });

  it('that is too long has its sentence shortened, and nothing else', () => {
    for (const sentence of sentences.filter((text) => Buffer.byteLength(text) >= MAX_REPLY_BYTES)) {
      const reply: CriuResp = {
        type: ReqType.RESTORE,
        success: false,
        restore: { pid: 300 },
        cr_errno: 17,
        cr_errmsg: sentence,
        status: 5,
      };
      const fitted = fitReply(encodeResponse(reply));
      const decoded = decodeResponse(fitted, 'strict');
      assert.ok(decoded.kind === 'response');
      const { cr_errmsg: text, ...rest } = decoded.message;
      assert.ok(
        fitted.length <= MAX_REPLY_BYTES && fitted.length > MAX_REPLY_BYTES - 4,
        `${fitted.length} bytes`,
      );
      assert.ok(text?.endsWith('…') && sentence.startsWith(text.slice(0, -1)));
      assert.deepEqual(JSON.parse(JSON.stringify(rest)), {
        type: 2,
        success: false,
        restore: { pid: 300 },
        cr_errno: 17,
        status: 5,
      });
    }
  });

  it('keeps fields that only a newer client knows, byte for byte', () => {
    const newer = len(99, 'from the future');
    const fitted = fitReply(packet(num(1, 1), num(2, 0), len(9, 'x'.repeat(2000)), newer));
    assert.ok(fitted.includes(Buffer.from(newer)));
    assert.ok(fitted.length <= MAX_REPLY_BYTES);
  });

  it('loses the whole sentence if there is no room', () => {
    const fitted = fitReply(
      packet(num(1, 1), num(2, 0), len(99, 'y'.repeat(1012)), len(9, 'x'.repeat(2000))),
    );
    const decoded = decodeResponse(fitted, 'lenient');
    assert.equal(decoded.kind === 'response' && decoded.message.cr_errmsg, '');
    assert.ok(fitted.length <= MAX_REPLY_BYTES);
  });

  it('is passed on unchanged if it is too long without a sentence, or not a reply', () => {
    for (const bytes of [packet(num(1, 1), num(2, 1), len(99, 'y'.repeat(2000))), Buffer.alloc(2000, 0xff)]) {
      assert.equal(fitReply(bytes), bytes);
    }
  });
});

describe('a failing reply with other words', () => {
  const newer = len(99, 'from the future');
  const failing = packet(num(1, 2), num(2, 0), num(7, 3), len(9, 'of CRIU'), newer);

  it('has each field once, so that a strict reader takes it, and keeps those that only a newer client knows', () => {
    const bytes = reworded(failing, 'of the service', EPERM);
    const known = bytes.subarray(0, bytes.indexOf(Buffer.from(newer)));
    const rest = bytes.subarray(known.length + newer.length);
    const decoded = decodeResponse(Buffer.concat([known, rest]), 'strict');
    assert.ok(decoded.kind === 'response', JSON.stringify(decoded));
    const { type, success, cr_errno, cr_errmsg } = decoded.message;
    assert.deepEqual([type, success, cr_errno, cr_errmsg], [ReqType.RESTORE, false, EPERM, 'of the service']);
  });

  it('is made of every reply that a lenient reader takes, whatever an engine has written', () => {
    const next = random(2013);
    let taken = 0;
    for (let round = 0; round < 20_000; round += 1) {
      const bytes = Buffer.concat([failing, packet(len(4, '\x08\x01'), num(77, 300))]);
      for (let change = 0; change < 3; change += 1)
        bytes[Math.floor(next() * bytes.length)] = Math.floor(next() * 256);
      if (decodeResponse(bytes, 'lenient').kind === 'malformed') continue;
      taken += 1;
      const decoded = decodeResponse(reworded(bytes, 'of the service', EPERM), 'lenient');
      assert.ok(decoded.kind === 'response', bytes.toString('hex'));
      assert.equal(decoded.message.cr_errmsg, 'of the service');
    }
    assert.ok(taken > 1000, `${taken}`);
  });

  it('keeps the error number if no other is given', () => {
    const decoded = decodeResponse(reworded(failing, ''), 'lenient');
    assert.ok(decoded.kind === 'response');
    assert.deepEqual([decoded.message.cr_errno, decoded.message.cr_errmsg], [3, '']);
  });
});
