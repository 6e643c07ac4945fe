/** A session whose service was killed after it had started an engine on the connection and before it had stored that engine. */
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
import { endUnbegun } from '../../../src/session/keep/found-engine.ts';
import { authorized } from './support/authorized.ts';
import { type Left, Resumed } from './support/resumed.ts';

const request = authorized(ReqType.DUMP);
const handedOver: Left = {
  state: { at: 'handed-over', request },
  packet: Buffer.from('the request'),
};

/** A uid without an account. */
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

/** A signal ended it, or the status is unknown: the session may have reaped it. */
const bySignal = 'it was ended by a signal';

/** A process that holds the connection, as a stand-in for an engine. */
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

/** Starts a leftover of a confined engine outside of the engine's cgroup. @returns its exit status. */
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
  it('stays with the engine that has its request, and no second engine is started', async () => {
    const holder = new Holder();
    const resumed = new Resumed({ ...handedOver, requestMs: 1 }, (connection) => holder.start(connection));
    const first = await Promise.race([resumed.kept, resumed.next()]);
    assert.ok(Array.isArray(first), 'no reply, but an engine that is kept');
    assert.deepEqual(resumed.counted, [true]);
    holder.kill();
    const [reply, ...more] = await resumed.all();
    assert.deepEqual([reply?.cr_errno, more.length], [os.errno.EIO, 0]);
  });

  it('stays with that engine if its caller has sent another packet meanwhile', async () => {
    const holder = new Holder();
    const left = { ...handedOver, queued: [Buffer.from('what came behind it')] };
    const resumed = new Resumed(left, (connection) => holder.start(connection));
    const first = await Promise.race([resumed.kept, resumed.next()]);
    assert.ok(Array.isArray(first), 'no reply, but an engine that is kept');
    holder.kill();
    const [reply, ...more] = await resumed.all();
    assert.deepEqual([reply?.cr_errno, more.length], [os.errno.EIO, 0]);
  });

  it('is answered once if the engine’s reply is still unread', async () => {
    const said = Buffer.from(encodeResponse({ type: 1, success: true, dump: { restored: false } }));
    let holder = 0;
    const resumed = new Resumed({ ...handedOver, requestMs: 1, busy: true }, (connection) => {
      // Not a child of ours: its exit status is unknown.
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

  it('kills an engine that could read an unjudged packet before the request is judged again', async () => {
    const holder = new Holder();
    const left = { ...handedOver, queued: [handedOver.packet] };
    const resumed = new Resumed(left, (connection) => holder.start(connection));
    const [reply, ...more] = await resumed.all();
    assert.deepEqual([reply?.cr_errno, more.length], [os.errno.EINVAL, 0]);
    assert.notEqual((await holder.exit())?.kind, 'exited', bySignal);
  });

  it('gets one reply if the killed engine had read the request in its last moment', async () => {
    const holder = new Holder();
    let engine: SeqpacketSocket | undefined;
    const left: Left = {
      ...handedOver,
      queued: [handedOver.packet],
      requestMs: 1,
      context: {
        endUnbegun: (...found) => {
          engine?.receive(4096);
          return endUnbegun(...found);
        },
      },
    };
    try {
      const resumed = new Resumed(left, (connection) => {
        holder.start(connection);
        engine = native.adopt(native.duplicate(connection));
      });
      const [reply, ...more] = await resumed.all();
      assert.deepEqual([reply?.type, reply?.cr_errno, more.length], [request.type, os.errno.EIO, 0]);
    } finally {
      engine?.close();
    }
  });

  it('kills every leftover of a confined engine, which counts as its caller’s', async () => {
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

  it('kills every leftover of a confined engine that ended before it was found', async () => {
    const ended = startEscaped();
    const state = { at: 'handed-over' as const, request: { ...request, engine: 'confined' as const } };
    const [reply] = await new Resumed({ ...handedOver, state, becomes }).all();
    assert.equal(reply?.cr_errno, os.errno.EIO);
    assert.notEqual((await ended).kind, 'exited', bySignal);
  });
});
