/** A stop waits for requests at work, up to a limit. */
import assert from 'node:assert/strict';
import { constants as os } from 'node:os';
import { type CriuReq, type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { Client, sends } from './support/client.ts';
import { eventually, ServiceUnderTest } from './support/service.ts';

const dump: CriuReq = { type: ReqType.DUMP, opts: { images_dir_fd: -1, pid: 2, notify_scripts: true } };
const dumped: CriuResp = { type: ReqType.DUMP, success: true, dump: { restored: false } };
const rolledBack: CriuResp = { type: ReqType.DUMP, success: false, dump: { restored: false } };
const notification: CriuResp = { type: ReqType.NOTIFY, success: true, notify: { script: 'pre-dump' } };
const yes: CriuReq = { type: ReqType.NOTIFY, notify_success: true };

function listens(address: string): boolean {
  try {
    new Client(address).close();
    return true;
  } catch {
    return false;
  }
}

describe('a stop', () => {
  it('waits for a request at work, whose caller notices nothing', async () => {
    const service = await new ServiceUnderTest().start();
    service.engine('receive', sends(notification), 'receive', sends(dumped));
    const client = new Client(service.address).send(dump);
    await client.next();
    service.signal('SIGTERM');
    await eventually('the stop has begun, and its socket does not listen', () => !listens(service.address));
    assert.deepEqual(await client.send(yes).all(), [dumped]);
    assert.equal(await service.ended(), 0);
    await service.stop();
  });

  it('makes CRIU roll back requests that take longer than --stop-timeout, and says so in the reply', async () => {
    const service = await new ServiceUnderTest().start('--stop-timeout', '0.3');
    service.engine('receive', sends(notification), 'receive', sends(rolledBack));
    const client = new Client(service.address).send(dump);
    await client.next();
    service.signal('SIGTERM');
    const [reply, ...more] = await client.all();
    assert.deepEqual(more, []);
    assert.deepEqual(
      [reply?.type, reply?.success, reply?.cr_errno],
      [ReqType.DUMP, false, os.errno.ETIMEDOUT],
    );
    assert.match(reply?.cr_errmsg ?? '', /this service stops/);
    assert.equal(service.received().at(-1), 'eof');
    assert.equal(await service.ended(), 0);
    await service.stop();
  });

  it('leaves an engine alone that does not roll back, after its caller got a reply', async () => {
    const service = await new ServiceUnderTest().start('--stop-timeout', '0.3');
    service.engine('receive', sends(notification), 'receive', 'sleep 600000', sends(rolledBack));
    const client = new Client(service.address).send(dump);
    await client.next();
    const [engine] = service.children();
    service.signal('SIGTERM');
    const [reply, ...more] = await client.all();
    assert.deepEqual(more, []);
    assert.match(reply?.cr_errmsg ?? '', /this service stops.*has not done so yet/);
    assert.equal(await service.ended(), 0);
    process.kill(Number(engine), 0);
    process.kill(Number(engine), 'SIGTERM');
    await service.stop();
  });
});
