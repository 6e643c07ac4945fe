/** Several requests on one connection. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type CriuReq, type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { freshDirectory } from './support/bench.ts';
import { Client, withOpen } from './support/client.ts';
import { it } from './support/it.ts';

/** Sends each request after the reply to the request before it. */
async function dialog(requests: CriuReq[]): Promise<{ replies: CriuResp[]; client: Client }> {
  const client = new Client();
  const replies: CriuResp[] = [];
  for (const request of requests) {
    const reply = await client.send(request).next();
    assert.notEqual(reply, 'closed', `after ${replies.length} replies`);
    replies.push(reply as CriuResp);
  }
  return { replies, client };
}

describe('a dialog with keep_open', () => {
  it('is answered request by request, and ends after the request without keep_open', async () => {
    const images = freshDirectory();
    await withOpen([images], async (fd) => {
      const { replies, client } = await dialog([
        { type: ReqType.VERSION, keep_open: true },
        { type: ReqType.FEATURE_CHECK, features: { pidfd_store: true }, keep_open: true },
        { type: ReqType.CPUINFO_DUMP, opts: { images_dir_fd: fd }, keep_open: true },
        { type: ReqType.CPUINFO_CHECK, opts: { images_dir_fd: fd }, keep_open: true },
        { type: ReqType.VERSION },
      ]);
      assert.deepEqual(
        replies.map(({ type, success }) => [type, success]),
        [
          [ReqType.VERSION, true],
          [ReqType.FEATURE_CHECK, true],
          [ReqType.CPUINFO_DUMP, true],
          [ReqType.CPUINFO_CHECK, true],
          [ReqType.VERSION, true],
        ],
      );
      assert.equal(replies[1]?.features?.pidfd_store, true);
      assert.equal(existsSync(join(images, 'cpuinfo.img')), true);
      assert.deepEqual(await client.all(), []);
    });
  });

  it('can be left by the client after any reply', async () => {
    const { client } = await dialog([{ type: ReqType.VERSION, keep_open: true }]);
    client.close();
  });

  it('goes on after a request that fails, as with CRIU', async () => {
    const images = freshDirectory();
    await withOpen([images], async (fd) => {
      const { replies, client } = await dialog([
        { type: ReqType.CPUINFO_CHECK, opts: { images_dir_fd: fd }, keep_open: true },
        { type: ReqType.VERSION },
      ]);
      assert.deepEqual(
        replies.map(({ success }) => success),
        [false, true],
      );
      assert.deepEqual(await client.all(), []);
    });
  });
});
