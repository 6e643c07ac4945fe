import assert from 'node:assert/strict';
import { decodeRequest, encodeRequest } from '../../src/protocol/codec.ts';
import { type CriuReq, ReqType } from '../../src/protocol/messages.ts';
import { random } from '../support/random.ts';
import { Client, sends } from './support/client.ts';
import { eventually, ServiceUnderTest } from './support/service.ts';

const count = 10_000;
const seed = Number(process.env.CRIU_TEST_SEED ?? 2015);

const honest: CriuReq[] = [
  {
    type: ReqType.DUMP,
    opts: { images_dir_fd: -1, pid: 2, log_file: 'dump.log', leave_running: true, log_level: 4 },
  },
  {
    type: ReqType.RESTORE,
    opts: { images_dir_fd: 0, inherit_fd: [{ key: 'k', fd: 0 }], external: ['mnt[]', 'x'] },
  },
  { type: ReqType.PRE_DUMP, opts: { images_dir_fd: 0, pid: 2, track_mem: true, parent_img: '../1' } },
  {
    type: ReqType.PAGE_SERVER,
    opts: { images_dir_fd: 0, ps: { address: '127.0.0.1', port: 0 } },
    keep_open: true,
  },
  { type: ReqType.FEATURE_CHECK, features: { mem_track: true, lazy_pages: false } },
  { type: ReqType.VERSION, keep_open: false },
  { type: ReqType.WAIT_PID, pid: 77 },
  { type: ReqType.NOTIFY, notify_success: true },
];

function mutate(bytes: Buffer, next: () => number): Buffer {
  let mutated = Buffer.from(bytes);
  const at = () => Math.floor(next() * mutated.length);
  for (let times = 1 + Math.floor(next() * 3); times > 0; times -= 1) {
    const choice = Math.floor(next() * 5);
    if (choice === 0 && mutated.length > 0) mutated[at()] = Math.floor(next() * 256);
    else if (choice === 1 && mutated.length > 0) mutated[at()]! ^= 1 << Math.floor(next() * 8);
    else if (choice === 2) mutated = mutated.subarray(0, at());
    else if (choice === 3)
      mutated = Buffer.concat([
        mutated.subarray(0, at()),
        Buffer.from([next() * 256]),
        mutated.subarray(at()),
      ]);
    else mutated = Buffer.concat([mutated, mutated.subarray(at())]);
  }
  return mutated;
}

describe('mutated packets', () => {
  it(`get a single reply each and leave nothing behind (${count} packets, seed ${seed})`, async () => {
    // With a large heap, V8 collects late, and garbage cannot be told from leaks.
    const service = await new ServiceUnderTest('--max-old-space-size=32', '--max-semi-space-size=1').start(
      '-v0',
    );
    // The engine answers every request, so that each packet gets a reply to wait for.
    service.engine('receive', sends({ type: ReqType.VERSION, success: false }));
    const next = random(seed);
    const ask = async (): Promise<void> => {
      const packet = mutate(encodeRequest(honest[Math.floor(next() * honest.length)]!), next);
      const client = new Client(service.address).sendBytes(packet);
      const first = await client.next();
      assert.ok(first !== 'closed', `seed ${seed}: no reply to ${packet.toString('hex')}`);
      // A mutation may have set keep_open: closing the sending half ends that.
      client.shutdownWrite();
      assert.deepEqual(await client.all(), [], `seed ${seed}: a second reply to ${packet.toString('hex')}`);
      const decoded = decodeRequest(packet, 'lenient');
      if (decoded.kind === 'malformed') assert.equal(first.reply.type, ReqType.EMPTY, packet.toString('hex'));
    };
    // Several requests run concurrently: each is a few switches between processes, and the machine may be busy.
    const many = async (times: number): Promise<void> => {
      for (let i = 0; i < times; i += 25) await Promise.all(Array.from({ length: 25 }, ask));
    };
    const quarter = count / 4;
    await many(quarter);
    const settled = () => service.children().length === 0;
    await eventually('all engines are reaped', settled);
    const fds = service.openFds();
    const memory = service.residentKiB();
    await many(count - quarter);
    await eventually('all engines are reaped', settled);
    await eventually('all fds are closed', () => service.openFds() <= fds);
    const growth = service.residentKiB() - memory;
    assert.ok(growth < 16 * 1024, `the service grew by ${growth} KiB in the last ${count - quarter} packets`);
    service.signal('SIGTERM');
    assert.equal(await service.ended(), 0, service.stderr);
    await service.stop();
  });
});
