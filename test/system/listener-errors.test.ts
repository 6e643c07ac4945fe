/**
 * The service needs one listening SEQPACKET socket. If systemd passes anything else, the service exits with an error that says
 * so, an exit status and an errno.
 */
import assert from 'node:assert/strict';
import { createConnection } from 'node:net';
import { constants } from 'node:os';
import { eventually, run, succeeds } from './support/bench.ts';
import { Client, ourAddress } from './support/client.ts';
import { it } from './support/it.ts';
import { show } from './support/unit.ts';

const program = '/usr/lib/criu-service/criu-service';

/** Waits for a transient unit to fail, and checks its result. */
async function failed(unit: string, errno: number, text: RegExp): Promise<void> {
  const state = () => show(`${unit}.service`, 'Result', 'ExecMainStatus', 'StatusErrno', 'StatusText');
  await eventually(`${unit} fails`, () => state().Result === 'exit-code');
  const { ExecMainStatus, StatusErrno, StatusText } = state();
  run('systemctl', 'reset-failed', `${unit}.service`);
  assert.equal(ExecMainStatus, '1');
  assert.equal(StatusErrno, String(errno), StatusText);
  assert.match(StatusText ?? '', text);
}

/** Starts a unit that cannot become ready. */
function start(unit: string, properties: string[], command: string[] = [program]): void {
  const given = properties.map((property) => `--property=${property}`);
  assert.equal(
    succeeds('systemd-run', '--quiet', `--unit=${unit}`, '--property=Type=notify', ...given, ...command),
    false,
  );
}

/** A socket unit with the service behind it. Its queue is flushed, because it would start the service over and over. */
function socketUnit(unit: string, ...listen: string[]): void {
  const sockets = [...listen, 'FlushPending=yes'].map((property) => `--socket-property=${property}`);
  run('systemd-run', '--quiet', `--unit=${unit}`, '--property=Type=notify', ...sockets, program);
}

describe('the service refuses to start on', () => {
  it('a stream socket', async () => {
    socketUnit('criu-stream', 'ListenStream=/run/criu-stream.socket');
    const connection = createConnection('/run/criu-stream.socket').on('error', () => {});
    try {
      await failed('criu-stream', constants.errno.EPROTOTYPE, /no SEQPACKET/);
    } finally {
      connection.destroy();
      run('systemctl', 'stop', 'criu-stream.socket');
    }
  });

  it('two sockets', async () => {
    const paths = ['/run/criu-one.socket', '/run/criu-two.socket'];
    socketUnit('criu-two', ...paths.map((path) => `ListenSequentialPacket=${path}`));
    const client = new Client(paths[0]);
    try {
      await failed('criu-two', constants.errno.EINVAL, /passed 2 sockets/);
    } finally {
      client.close();
      run('systemctl', 'stop', 'criu-two.socket');
    }
  });

  it('a socket that does not listen', async () => {
    // systemd connects to a socket that OpenFile= names.
    start('criu-connected', [`OpenFile=${ourAddress}`]);
    await failed('criu-connected', constants.errno.EINVAL, /does not listen/);
  });

  it('a file in place of a socket', async () => {
    start('criu-file', ['OpenFile=/etc/hostname:file:read-only']);
    await failed('criu-file', constants.errno.ENOTSOCK, /is no socket/);
  });

  it('an activation without a socket', async () => {
    // systemd turns two dollars into one, and the shell turns the remaining two into its pid.
    start('criu-nothing', [], ['/bin/sh', '-c', `LISTEN_FDS=0 LISTEN_PID=$$$$ exec ${program}`]);
    await failed('criu-nothing', constants.errno.EINVAL, /passed 0 sockets/);
  });

  it('an address with another listener', async () => {
    start('criu-live', [], [program, '--address', ourAddress]);
    await failed('criu-live', constants.errno.EADDRINUSE, /Another process listens/);
  });
});
