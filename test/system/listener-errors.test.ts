/** Whatever else systemd passes than one listening SEQPACKET socket is an error that says so, and an exit status, and an errno. */
import assert from 'node:assert/strict';
import { createConnection } from 'node:net';
import { constants } from 'node:os';
import { eventually, run, succeeds } from './support/bench.ts';
import { Client, ourAddress } from './support/client.ts';
import { it } from './support/it.ts';
import { show } from './support/unit.ts';

const program = '/usr/lib/criu-service/criu-service';

/** Waits for a transient unit to fail, and looks at what it left. */
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

/** A socket unit with the service behind it; its queue is emptied, or it would start the service over and over. */
function socketUnit(unit: string, ...listen: string[]): void {
  const sockets = [...listen, 'FlushPending=yes'].map((property) => `--socket-property=${property}`);
  run('systemd-run', '--quiet', `--unit=${unit}`, '--property=Type=notify', ...sockets, program);
}

describe('a listener that is not what it should be', () => {
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
    // systemd connects to a socket that is named in OpenFile=.
    start('criu-connected', [`OpenFile=${ourAddress}`]);
    await failed('criu-connected', constants.errno.EINVAL, /does not listen/);
  });

  it('no socket at all but a file', async () => {
    start('criu-file', ['OpenFile=/etc/hostname:file:read-only']);
    await failed('criu-file', constants.errno.ENOTSOCK, /is no socket/);
  });

  it('an activation that passes nothing', async () => {
    // systemd makes one dollar of two, and the shell its pid of what is left.
    start('criu-nothing', [], ['/bin/sh', '-c', `LISTEN_FDS=0 LISTEN_PID=$$$$ exec ${program}`]);
    await failed('criu-nothing', constants.errno.EINVAL, /passed 0 sockets/);
  });

  it('an address that somebody listens on already', async () => {
    start('criu-live', [], [program, '--address', ourAddress]);
    await failed('criu-live', constants.errno.EADDRINUSE, /Another process listens/);
  });
});
