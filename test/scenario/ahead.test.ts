/** Engines that are started before their request: the fate of a request if such an engine ends at an exact moment. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { constants as os } from 'node:os';
import { type CriuReq, type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { Client, sends } from './support/client.ts';
import { eventually, ServiceUnderTest } from './support/service.ts';

const dump: CriuReq = { type: ReqType.DUMP, opts: { images_dir_fd: -1, pid: 2 } };
const dumped: CriuResp = { type: ReqType.DUMP, success: true, dump: { restored: false } };
const version: CriuResp = {
  type: ReqType.VERSION,
  success: true,
  version: { major_number: 4, minor_number: 1 },
};

function nameOf(pid: string): string {
  return readFileSync(`/proc/${pid}/comm`, 'latin1').trim();
}

describe('an engine that was started ahead', () => {
  let service: ServiceUnderTest;

  /** Starts a service whose engines follow these steps, and waits until one engine waits. @returns its pid. */
  async function withOneThat(...steps: string[]): Promise<number> {
    service = new ServiceUnderTest();
    service.engine(...steps);
    await service.start('--engines-ahead', '1');
    return oneWaits();
  }

  async function oneWaits(): Promise<number> {
    // Before its execve(2) the child runs on the memory of the service, which stands still.
    await eventually('one engine waits', () => {
      const [pid, ...more] = service.children();
      return more.length === 0 && pid !== undefined && nameOf(pid) === 'engine';
    });
    return Number(service.children()[0]);
  }

  afterEach(() => service.stop());

  it('gets the request, and another engine takes its place', async () => {
    const first = await withOneThat('receive', sends(dumped));
    assert.deepEqual(await new Client(service.address).send(dump).all(), [dumped]);
    await eventually('another one waits', () => service.children().some((pid) => Number(pid) !== first));
    assert.equal(await oneWaits().then((pid) => pid !== first), true);
    assert.equal(service.received().length, 1);
  });

  it('can be killed while it waits: another serves the request', async () => {
    const engine = await withOneThat('receive', sends(dumped));
    process.kill(engine, 'SIGKILL');
    assert.deepEqual(await new Client(service.address).send(dump).all(), [dumped]);
  });

  it('can be killed with the request unread: another serves the request', async () => {
    const engine = await withOneThat('receive', sends(dumped));
    process.kill(engine, 'SIGSTOP');
    const client = new Client(service.address).send(dump);
    await eventually('it has been taken', () => service.children().length === 2);
    process.kill(engine, 'SIGKILL');
    assert.deepEqual(await client.all(), [dumped]);
    assert.equal(service.received().length, 1, 'an engine has read the request, and only one');
  });

  it('is not replaced after it has read its request, because a request must not be carried out twice', async () => {
    await withOneThat('receive', 'kill 9');
    const reply = await new Client(service.address).ask(dump);
    assert.deepEqual([reply.success, reply.cr_errno], [false, os.errno.EIO]);
    assert.match(reply.cr_errmsg!, /signal 9/);
    assert.equal(service.received().length, 1);
  });

  it('gives its caller a single reply if its replacement cannot be started either', async () => {
    const engine = await withOneThat('receive', sends(dumped));
    process.kill(engine, 'SIGSTOP');
    const client = new Client(service.address).send(dump);
    await eventually('it has been taken', () => service.children().length === 2);
    service.replaceEngine('#!/nonexistent\n');
    process.kill(engine, 'SIGKILL');
    const [reply, ...more] = await client.all();
    assert.deepEqual([reply!.type, reply!.success, more.length], [ReqType.DUMP, false, 0]);
    assert.match(reply!.cr_errmsg!, /ENOENT|No such file/);
  });

  it('gets no request of a caller that has left', async () => {
    const engine = await withOneThat('receive', sends(dumped));
    process.kill(engine, 'SIGSTOP');
    const client = new Client(service.address).send(dump);
    await eventually('it has been taken', () => service.children().length === 2);
    client.close();
    // Refused without an engine: after the reply to a later caller, the service has seen that this one has left.
    const [refusal] = await new Client(service.address)
      .send({ type: ReqType.DUMP, opts: { images_dir_fd: -1, pid: 1 } })
      .all();
    assert.equal(refusal!.success, false);
    process.kill(engine, 'SIGKILL');
    await eventually('it is gone', () => !service.children().includes(`${engine}`));
    await oneWaits();
    assert.deepEqual(service.received(), []);
  });

  it('is not used after criu was replaced', async () => {
    await withOneThat('receive', sends({ ...dumped, success: false }));
    service.engine('receive', sends(dumped));
    assert.deepEqual(await new Client(service.address).send(dump).all(), [dumped]);
  });

  it('gets as many companions as a burst has needed, which are dismissed after a calm time', async () => {
    await withOneThat('receive', 'receive');
    const clients = [1, 2, 3].map(() => new Client(service.address).send(dump));
    await eventually('each has an engine', () => service.received().length === 3);
    for (const client of clients) client.close();
    const left = () => service.received().filter((packet) => packet === 'eof').length;
    await eventually('three others wait', () => left() === 3 && service.children().length === 3);
    await eventually('one waits', () => service.children().length === 1);
  });

  it('is dismissed, and replaced, on SIGHUP', async () => {
    const before = await withOneThat('receive', sends(dumped));
    service.signal('SIGHUP');
    await eventually('another one waits', () => {
      const children = service.children();
      return children.length === 1 && Number(children[0]) !== before;
    });
  });

  it('ends with the service', async () => {
    await withOneThat('receive');
    service.signal('SIGTERM');
    assert.equal(await service.ended(), 0);
    await eventually('it read the end', () => service.received()[0] === 'eof');
  });

  it('is restarted with growing pauses if it ends instead of waiting', async () => {
    service = new ServiceUnderTest();
    service.engine('receive');
    // Each start appends a mark, and the engine exits immediately.
    service.engine('mark', 'exit 3');
    const begun = performance.now();
    await service.start('--engines-ahead', '1');
    await eventually('it was started again and again', () => service.received().length >= 4);
    // The pauses are 100, 200, 400 ms and so on: so many starts take that long at least, and longer on a slower machine.
    const starts = service.received().length;
    const passed = performance.now() - begun;
    const least = 100 * (2 ** (starts - 1) - 1);
    assert.ok(passed >= least, `${starts} starts within ${passed} ms`);
    const reply = await new Client(service.address).ask(dump);
    assert.match(reply.cr_errmsg!, /status 3/);
  });
});

describe('answers that cannot change', () => {
  let service: ServiceUnderTest;

  beforeEach(async () => {
    service = new ServiceUnderTest();
    service.engine('receive', sends(version));
    await service.start();
  });

  afterEach(() => service.stop());

  const ask = (): Promise<CriuResp> => new Client(service.address).ask({ type: ReqType.VERSION });

  it('come from an engine once, and are kept', async () => {
    for (let i = 0; i < 3; i += 1) assert.deepEqual(await ask(), version);
    assert.equal(service.received().length, 1);
  });

  it('are requested again after criu was replaced, and on SIGHUP', async () => {
    assert.deepEqual(await ask(), version);
    const newer = { ...version, version: { major_number: 4, minor_number: 2 } };
    service.engine('receive', sends(newer));
    assert.deepEqual(await ask(), newer);
    service.signal('SIGHUP');
    // The service may answer some requests before it handles the signal.
    while (service.received().length < 2) await ask();
    await ask();
    assert.equal(service.received().length, 2);
  });

  it('are not kept if they are a failure, or come from a program that was replaced in the meantime', async () => {
    const failure = { ...version, success: false };
    service.engine('receive', sends(failure));
    assert.deepEqual(await ask(), failure);
    service.engine('receive', 'until told', sends(version));
    const client = new Client(service.address).send({ type: ReqType.VERSION });
    await eventually('the engine has its request', () => service.received().length === 1);
    const newer = { ...version, version: { major_number: 5, minor_number: 0 } };
    service.engine('receive', sends(newer));
    service.tell();
    assert.deepEqual(await client.all(), [version]);
    assert.deepEqual(await ask(), newer);
  });

  it('are for exactly that question: a packet with another field goes to an engine', async () => {
    const say = { type: ReqType.VERSION } as const;
    await ask();
    const others: CriuReq[] = [
      { ...say, keep_open: true },
      { ...say, opts: { images_dir_fd: -1 } },
      { ...say, features: { mem_track: true } },
    ];
    for (const other of others) {
      const before = service.received().length;
      const client = new Client(service.address).send(other);
      await client.next();
      client.close();
      await eventually('an engine has read it', () => service.received().length > before);
    }
  });
});
