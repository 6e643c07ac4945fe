/** A connection counts for the user that made it, and only that user may use it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { constants as os } from 'node:os';
import { decodeResponse, encodeRequest } from '../../src/protocol/codec.ts';
import { type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { sends } from './support/client.ts';
import { ServiceUnderTest } from './support/service.ts';

/** Connects as root, sends from a child with these ids, and prints the reply. */
const sendFromChild = `
import os, socket, sys
address, uid, gid, packet = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), bytes.fromhex(sys.argv[4])
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(address)
if os.fork() == 0:
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    s.send(packet)
    os._exit(0)
os.wait()
print(s.recv(65536).hex(), end='')
`;

describe('a connection that root has made', () => {
  let service: ServiceUnderTest;
  before(async () => {
    service = await new ServiceUnderTest().start();
  });
  after(() => service.stop());

  function askFrom(uid: number, gid: number): CriuResp {
    service.engine('receive', sends({ type: ReqType.CHECK, success: true }));
    const packet = encodeRequest({ type: ReqType.CHECK }).toString('hex');
    const { stdout, stderr, status } = spawnSync(
      'python3',
      ['-c', sendFromChild, service.address, String(uid), String(gid), packet],
      { encoding: 'utf8' },
    );
    assert.equal(status, 0, stderr);
    const decoded = decodeResponse(Buffer.from(stdout, 'hex'), 'strict');
    return decoded.kind === 'response' ? decoded.message : assert.fail(decoded.reason);
  }

  it('serves a child of root’s, too', () => {
    assert.equal(askFrom(0, 0).success, true);
  });

  for (const [who, uid, gid] of [
    ['another user', 65534, 65534],
    ['another group', 0, 65534],
  ] as const) {
    it(`is useless to ${who} that gets hold of it`, () => {
      const { success, cr_errno, cr_errmsg } = askFrom(uid, gid);
      assert.deepEqual([success, cr_errno], [false, os.errno.EPERM]);
      assert.match(cr_errmsg ?? '', /sent by another user or group/);
      assert.deepEqual(service.received(), []);
    });
  }
});
