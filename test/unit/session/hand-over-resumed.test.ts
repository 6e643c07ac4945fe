/** A session whose service was killed between the start of an engine on its connection and the keeping of that engine. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { constants as os } from 'node:os';
import {
  type ExitStatus,
  native,
  type OwnedFd,
  type Process,
  type SeqpacketSocket,
} from '../../../src/native/binding.ts';
import { ticksNow } from '../../../src/proc/audit-session.ts';
import { encodeResponse } from '../../../src/protocol/codec.ts';
import { ReqType } from '../../../src/protocol/messages.ts';
import { SessionEngines } from '../../../src/session/engines/session-engines.ts';
import { authorized } from './support/authorized.ts';
import { type Left, Resumed } from './support/resumed.ts';

const request = authorized(ReqType.DUMP);
const handedOver: Left = {
  state: { at: 'handed-over', request },
  packet: Buffer.from('the request'),
};

/** Nobody's. */
const uid = 61_234;
const becomes = {
  uid,
  since: ticksNow(),
  traits: {
    permitted: 0n,
    bounding: 0n,
    inheritable: 0n,
    ambient: 0n,
    noNewPrivs: false,
    umask: 0o22,
    label: undefined,
  },
};

/** Or it is known only that it has ended: the session may have reaped it. */
const bySignal = 'it was ended by a signal';

/** What holds the connection, whether it has read its request or was stopped before. */
class Holder {
  #process: Process | undefined;
  #exit: Promise<ExitStatus> | undefined;

  start(connection: OwnedFd): void {
    const started = native.spawn({
      file: '/bin/sleep',
      argv: ['sleep', '60'],
      env: [],
      fds: [{ source: connection, target: 3 }],
    });
    this.#process = started;
    this.#exit = new Promise((resolve) => started.onExit(resolve));
  }

  kill(): void {
    this.#process?.signal(os.signals.SIGKILL);
  }

  exit(): Promise<ExitStatus> | undefined {
    return this.#exit;
  }
}

/** What an engine that has become its caller may have left outside of its cgroup. @returns how it ends. */
function startEscaped(): Promise<ExitStatus> {
  const capability = '+checkpoint_restore';
  const argv = [
    'setpriv',
    '--reuid',
    `${uid}`,
    '--inh-caps',
    capability,
    '--ambient-caps',
    capability,
    'sleep',
    '60',
  ];
  const escaped = native.spawn({
    file: '/usr/bin/setpriv',
    argv,
    env: ['PATH=/usr/bin:/bin'],
    fds: [],
  });
  return new Promise<ExitStatus>((resolve) => escaped.onExit(resolve));
}

describe('a connection that was being handed over when its service was killed', () => {
  it('is the affair of the engine that has its request, for which nobody waits a second time', async () => {
    const holder = new Holder();
    const resumed = new Resumed({ ...handedOver, requestMs: 1 }, (connection) => holder.start(connection));
    const first = await Promise.race([resumed.kept, resumed.next()]);
    assert.ok(Array.isArray(first), 'no reply, but an engine that is kept');
    assert.deepEqual(resumed.counted, [true]);
    holder.kill();
    const [reply, ...more] = await resumed.all();
    assert.deepEqual([reply?.cr_errno, more.length], [os.errno.EIO, 0]);
  });

  it('is that engine’s, too, when its caller has sent something else meanwhile', async () => {
    const holder = new Holder();
    const left = { ...handedOver, queued: [Buffer.from('what came behind it')] };
    const resumed = new Resumed(left, (connection) => holder.start(connection));
    const first = await Promise.race([resumed.kept, resumed.next()]);
    assert.ok(Array.isArray(first), 'no reply, but an engine that is kept');
    holder.kill();
    const [reply, ...more] = await resumed.all();
    assert.deepEqual([reply?.cr_errno, more.length], [os.errno.EIO, 0]);
  });

  it('is not answered a second time when its caller has yet to read what the engine said', async () => {
    const said = Buffer.from(encodeResponse({ type: 1, success: true, dump: { restored: false } }));
    let holder = 0;
    const resumed = new Resumed({ ...handedOver, requestMs: 1, busy: true }, (connection) => {
      // No child of ours, so that nothing tells how it ended.
      const { stdout } = spawnSync('/bin/sh', ['-c', 'sleep 60 >/dev/null & echo $!'], {
        stdio: ['ignore', 'pipe', 'ignore', connection.number],
      });
      holder = Number(stdout);
      const engine = native.adopt(native.duplicate(connection));
      engine.send(said);
      engine.close();
    });
    await resumed.kept;
    process.kill(holder, 'SIGKILL');
    await resumed.over;
    resumed.read();
    assert.deepEqual(
      (await resumed.all()).map(({ success }) => success),
      [true],
    );
  });

  it('has no engine left that could read what nobody has judged, when its request is looked at anew', async () => {
    const holder = new Holder();
    const left = { ...handedOver, queued: [handedOver.packet] };
    const resumed = new Resumed(left, (connection) => holder.start(connection));
    const [reply, ...more] = await resumed.all();
    assert.deepEqual([reply?.cr_errno, more.length], [os.errno.EINVAL, 0]);
    assert.notEqual((await holder.exit())?.kind, 'exited', bySignal);
  });

  it('gets one reply, too, when the engine that is ended has read it in its last moment', async () => {
    const { endUnbegun } = SessionEngines.prototype;
    const holder = new Holder();
    const left = { ...handedOver, queued: [handedOver.packet], requestMs: 1 };
    let engine: SeqpacketSocket | undefined;
    SessionEngines.prototype.endUnbegun = function (...found) {
      engine?.receive(4096);
      return endUnbegun.apply(this, found);
    };
    try {
      const resumed = new Resumed(left, (connection) => {
        holder.start(connection);
        engine = native.adopt(native.duplicate(connection));
      });
      const [reply, ...more] = await resumed.all();
      assert.deepEqual([reply?.type, reply?.cr_errno, more.length], [request.type, os.errno.EIO, 0]);
    } finally {
      SessionEngines.prototype.endUnbegun = endUnbegun;
      engine?.close();
    }
  });

  it('leaves nothing of an engine that has become its caller, and that engine counts as the caller’s', async () => {
    const ended = startEscaped();
    const holder = new Holder();
    const left: Left = {
      ...handedOver,
      state: { at: 'handed-over', request: { ...request, engine: 'confined' } },
      becomes,
    };
    const resumed = new Resumed(left, (connection) => holder.start(connection));
    await resumed.kept;
    assert.deepEqual(resumed.counted, [false]);
    holder.kill();
    await resumed.all();
    assert.notEqual((await ended).kind, 'exited', bySignal);
  });

  it('leaves nothing of it either when it has ended before anybody could find it', async () => {
    const ended = startEscaped();
    const state = { at: 'handed-over' as const, request: { ...request, engine: 'confined' as const } };
    const [reply] = await new Resumed({ ...handedOver, state, becomes }).all();
    assert.equal(reply?.cr_errno, os.errno.EIO);
    assert.notEqual((await ended).kind, 'exited', bySignal);
  });
});
