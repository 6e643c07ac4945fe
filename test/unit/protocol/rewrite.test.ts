import assert from 'node:assert/strict';
import protobuf from 'protobufjs';
import { decodeRequest, encodeRequest } from '../../../src/protocol/codec.ts';
import { criu_req } from '../../../src/protocol/generated/rpc.js';
import { rpcTable } from '../../../src/protocol/generated/rpc-table.ts';
import { type CriuReq, ReqType } from '../../../src/protocol/messages.ts';
import { appendOverrides, replaceOptions } from '../../../src/protocol/rewrite.ts';
import { everyOption, requests } from './samples.ts';
import { len, num, packet } from './wire-bytes.ts';

/** Both readers must agree: protobufjs, and ours that follows protobuf-c. */
function readBack(bytes: Buffer): CriuReq {
  const library = criu_req.decode(bytes);
  const engine = decodeRequest(bytes, 'lenient');
  assert.ok(engine.kind === 'request');
  assert.deepEqual(JSON.parse(JSON.stringify(engine.message)), JSON.parse(JSON.stringify(library)));
  return library;
}

describe('rewriting a request', () => {
  it('replaces the scalars that it names', () => {
    const original = encodeRequest(everyOption);
    const message = readBack(
      appendOverrides(original, {
        pid: 1,
        images_dir_fd: 20,
        work_dir_fd: 21,
        status_fd: 22,
        pidfd_store_sk: 23,
        notify_scripts: false,
        log_file: 'x',
      }),
    );
    assert.deepEqual(
      [
        message.opts?.pid,
        message.opts?.images_dir_fd,
        message.opts?.work_dir_fd,
        message.opts?.status_fd,
        message.opts?.pidfd_store_sk,
      ],
      [1, 20, 21, 22, 23],
    );
    assert.equal(message.opts?.notify_scripts, false);
    assert.equal(message.opts?.log_file, 'x');
  });

  it('leaves all other fields unchanged', () => {
    const message = readBack(appendOverrides(encodeRequest(everyOption), { pid: 1 }));
    assert.deepEqual(JSON.parse(JSON.stringify(message)), {
      ...everyOption,
      opts: { ...everyOption.opts, pid: 1 },
    });
  });

  it('writes a value once in a request that was encoded here', () => {
    const message = { type: ReqType.DUMP, opts: { images_dir_fd: -1, pid: 5, unprivileged: true } };
    const rewritten = replaceOptions(encodeRequest(message), { images_dir_fd: 4, work_dir_fd: 6 });
    assert.deepEqual(
      rewritten,
      encodeRequest({ ...message, opts: { ...message.opts, images_dir_fd: 4, work_dir_fd: 6 } }),
    );
    assert.throws(() => replaceOptions(packet(num(1, 1), num(1, 1)), {}), TypeError);
  });

  it('merges into an embedded message', () => {
    const original = encodeRequest({
      type: ReqType.PAGE_SERVER,
      opts: { images_dir_fd: 3, ps: { port: 80, fd: 4 } },
    });
    const message = readBack(appendOverrides(original, { ps: { address: '127.0.0.1', fd: 9 } }));
    assert.deepEqual({ ...message.opts?.ps }, { port: 80, fd: 9, address: '127.0.0.1' });
  });

  it("repeats the caller's directory, because CRIU would forget it", () => {
    const original = packet(num(1, 1), len(2, num(1, 5)));
    assert.equal(readBack(appendOverrides(original, { pid: 9 })).opts?.images_dir_fd, 5);
  });

  it('gives opts to a request without opts, and invents no directory', () => {
    const message = readBack(appendOverrides(encodeRequest({ type: ReqType.CHECK }), { work_dir_fd: 4 }));
    assert.deepEqual([message.opts?.images_dir_fd, message.opts?.work_dir_fd], [-1, 4]);
  });

  it('leaves the type as CRIU sees it', () => {
    for (const request of requests) {
      assert.equal(readBack(appendOverrides(encodeRequest(request), { pid: 1 })).type, request.type);
    }
    const sneaky = appendOverrides(packet(num(1, 1), num(1, 99)), { pid: 1 });
    const seen = decodeRequest(sneaky, 'lenient');
    assert.equal(seen.kind === 'request' && seen.message.type, 99);
  });

  it('passes unknown fields on, byte for byte, to an engine that knows them', () => {
    const original = packet(
      num(1, 1),
      len(2, [...num(1, 5), ...len(99, 'new option'), ...num(2, 7)]),
      len(77, 'new field'),
    );
    const rewritten = appendOverrides(original, { pid: 8 });
    assert.deepEqual(rewritten.subarray(0, original.length), original);

    const newer = newerProto().decode(rewritten).toJSON();
    assert.deepEqual(newer, {
      type: 'DUMP',
      opts: { images_dir_fd: 5, new_option: 'new option', pid: 8 },
      new_field: 'new field',
    });
  });

  it('throws on bytes that are not a request', () => {
    assert.throws(() => appendOverrides(packet(num(4, 1)), { pid: 1 }), TypeError);
  });
});

/** criu_req of a future CRIU, with an additional field in it and another in its options. */
function newerProto(): protobuf.Type {
  const table = structuredClone(rpcTable) as protobuf.INamespace;
  const root = protobuf.Root.fromJSON(table);
  root.lookupType('criu_opts').add(new protobuf.Field('new_option', 99, 'string', 'optional'));
  root.lookupType('criu_req').add(new protobuf.Field('new_field', 77, 'string', 'optional'));
  return root.lookupType('criu_req');
}
