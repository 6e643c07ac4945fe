/** The option `--metrics-file`: the metrics for Prometheus. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ReqType } from '../../src/protocol/messages.ts';
import { Client, sends } from './support/client.ts';
import { eventually, ServiceUnderTest } from './support/service.ts';

describe('the metrics', () => {
  const service = new ServiceUnderTest();
  const file = join(service.directory, 'criu.prom');
  const text = (): string => readFileSync(file, 'utf8');
  /** The value of a sample in the file; undefined if it is absent. */
  const value = (sample: string): number | undefined => {
    const line = text()
      .split('\n')
      .find((each) => each.startsWith(`${sample} `));
    return line === undefined ? undefined : Number(line.slice(sample.length));
  };
  const start = (): Promise<ServiceUnderTest> => service.start('--metrics-file', file);
  const probe = async (success: boolean): Promise<void> => {
    service.engine('receive', sends({ type: ReqType.CHECK, success }));
    await new Client(service.address).ask({ type: ReqType.CHECK, opts: { images_dir_fd: -1 } });
  };
  const end = async (): Promise<void> => {
    service.signal('SIGTERM');
    await service.ended();
  };
  after(() => service.stop());

  it('count each request once, by its type and result, with its duration', async () => {
    await start();
    for (const success of [true, true, false]) await probe(success);
    await new Client(service.address).sendBytes(Buffer.from('no request')).all();
    await end();
    assert.equal(value('criu_service_requests_total{request="CHECK",result="done"}'), 2);
    assert.equal(value('criu_service_requests_total{request="CHECK",result="failed"}'), 1);
    assert.equal(value('criu_service_requests_total{request="none",result="refused"}'), 1);
    assert.ok(value('criu_service_request_seconds_total{request="CHECK",result="done"}')! > 0);
    assert.match(text(), /^# TYPE criu_service_requests_total counter$/m);
  });

  it('continue from one start to the next', async () => {
    const before = value('criu_service_request_seconds_total{request="CHECK",result="done"}')!;
    await start();
    await probe(true);
    await end();
    assert.equal(value('criu_service_requests_total{request="CHECK",result="done"}'), 3);
    assert.equal(value('criu_service_requests_total{request="CHECK",result="failed"}'), 1);
    assert.ok(value('criu_service_request_seconds_total{request="CHECK",result="done"}')! > before);
  });

  it('are written while the service runs, show the current work, and leave no temporary file', async () => {
    await start();
    const held = new Client(service.address);
    await eventually('the connection is in it', () => value('criu_service_connections') === 1);
    held.close();
    await eventually('it is not in it', () => value('criu_service_connections') === 0);
    assert.deepEqual(
      readdirSync(service.directory).filter((name) => name.startsWith('criu.prom')),
      ['criu.prom'],
    );
    await end();
  });
});
