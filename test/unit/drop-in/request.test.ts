import assert from 'node:assert/strict';
import { type Meaning, meaningOf, withValues } from '../../../src/drop-in/request.ts';
import { peerFdFields } from '../../../src/policy/option-table.ts';
import { decodeRequest, encodeRequest } from '../../../src/protocol/codec.ts';
import { type CriuOpts, type CriuReq, ReqType } from '../../../src/protocol/messages.ts';
import { everyOption } from '../protocol/samples.ts';

const { DUMP, PRE_DUMP, SINGLE_PRE_DUMP, RESTORE, PAGE_SERVER, PAGE_SERVER_CHLD, VERSION } = ReqType;

/** A request, and its meaning in its program, whose working directory is /home/alice. */
const table: readonly (readonly [CriuReq, Partial<Meaning>])[] = [
  [{ type: VERSION }, {}],
  [{ type: DUMP }, {}],
  [{ type: DUMP, opts: { images_dir_fd: -1 } }, { target: 'client' }],
  [{ type: PRE_DUMP, opts: { images_dir_fd: -1 } }, { target: 'client' }],
  [{ type: SINGLE_PRE_DUMP, opts: { images_dir_fd: -1 } }, { target: 'client' }],
  [{ type: DUMP, opts: { images_dir_fd: -1, pid: 7 } }, { target: 7 }],
  [{ type: RESTORE, opts: { images_dir_fd: -1, pid: 7 } }, {}],
  [{ type: RESTORE, opts: { images_dir_fd: 0 } }, { descriptors: [{ option: 'images_dir_fd', number: 0 }] }],
  [
    { type: RESTORE, opts: { images_dir_fd: 4, work_dir_fd: 5, status_fd: 6, pidfd_store_sk: 7 } },
    {
      descriptors: [
        { option: 'images_dir_fd', number: 4 },
        { option: 'work_dir_fd', number: 5 },
        { option: 'status_fd', number: 6 },
        { option: 'pidfd_store_sk', number: 7 },
      ],
    },
  ],
  // In other options than images_dir_fd, -1 is a number that CRIU fails at.
  [
    { type: RESTORE, opts: { images_dir_fd: -1, work_dir_fd: -1 } },
    { descriptors: [{ option: 'work_dir_fd', number: -1 }] },
  ],
  [{ type: RESTORE, opts: { images_dir_fd: -1, images_dir: 'images' } }, { imagesDir: 'images' }],
  [{ type: RESTORE, opts: { images_dir_fd: -1, images_dir: '' } }, {}],
  // As in CRIU, images_dir counts only without images_dir_fd.
  [
    { type: RESTORE, opts: { images_dir_fd: 4, images_dir: 'images' } },
    { descriptors: [{ option: 'images_dir_fd', number: 4 }] },
  ],
  [
    { type: RESTORE, opts: { images_dir_fd: -1, config_file: 'criu.conf' } },
    { overrides: { config_file: '/home/alice/criu.conf' } },
  ],
  [
    { type: RESTORE, opts: { images_dir_fd: -1, config_file: '/etc/criu.conf' } },
    { overrides: { config_file: '/etc/criu.conf' } },
  ],
  // CRIU reads these from its work directory on, or from its own descriptors.
  [{ type: RESTORE, opts: { images_dir_fd: -1, parent_img: '../1', log_file: 'x', cgroup_yard: 'y' } }, {}],
  [{ type: RESTORE, opts: { images_dir_fd: -1, inherit_fd: [{ key: 'k', fd: 9 }], ps: { fd: 8 } } }, {}],
  [{ type: PAGE_SERVER, opts: { images_dir_fd: -1 } }, {}],
  [{ type: PAGE_SERVER_CHLD, opts: { images_dir_fd: -1 } }, { answeredAs: PAGE_SERVER }],
];

describe('a request to criu swrk', () => {
  for (const [message, meaning] of table) {
    it(`${ReqType[message.type]} ${JSON.stringify(message.opts ?? {})} stands for ${JSON.stringify(meaning)}`, () => {
      const expected = { answeredAs: message.type, descriptors: [], overrides: {}, ...meaning };
      assert.deepEqual(meaningOf(message, '/home/alice'), expected);
    });
  }

  it('names a descriptor of its program by each option that CRIU looks up in its peer', () => {
    const { descriptors } = meaningOf(everyOption, '/');
    assert.deepEqual(
      descriptors.map(({ option }) => option),
      peerFdFields,
    );
  });
});

function optsOf(bytes: Buffer, mode: 'strict' | 'lenient'): CriuOpts {
  const decoded = decodeRequest(bytes, mode);
  if (decoded.kind === 'malformed') return assert.fail(decoded.reason);
  return JSON.parse(JSON.stringify(decoded.message.opts));
}

describe('a request with other values', () => {
  const values = { images_dir_fd: 20, config_file: '/x' };

  it('is the same bytes where nothing is another', () => {
    const bytes = encodeRequest(everyOption);
    assert.equal(withValues(bytes, {}), bytes);
  });

  it('has no option twice, so that the service reads it strictly, and keeps all other options', () => {
    const opts = optsOf(withValues(encodeRequest(everyOption), values), 'strict');
    assert.deepEqual(opts, { ...optsOf(encodeRequest(everyOption), 'strict'), ...values });
  });

  it('keeps a field that rpc.proto does not have', () => {
    const unknown = Buffer.from([0xfa, 0x3f, 2, 0x68, 0x69]);
    const bytes = withValues(Buffer.concat([encodeRequest(everyOption), unknown]), values);
    assert.ok(bytes.includes(unknown));
    assert.equal(optsOf(bytes, 'lenient').images_dir_fd, 20);
  });
});
