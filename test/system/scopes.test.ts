/**
 * A scope whose only process exited while systemd put it there, like a launcher whose service is killed at that moment. systemd
 * waits for the last process to leave a scope that never had a process.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { native } from '../../src/native/binding.ts';
import { ReqType } from '../../src/protocol/messages.ts';
import { eventually, run } from './support/bench.ts';
import { ask } from './support/client.ts';
import { itElsewhere } from './support/it.ts';
import { statusLine } from './support/proc.ts';
import { show } from './support/unit.ts';

/** The parent of a process that has exited. It waits for its child only after its own input has ended. */
const parent = `
import os, sys
pid = os.fork()
if pid == 0: os._exit(0)
print(pid, flush=True)
sys.stdin.read()
`;

/** A zombie, for which its parent has not waited: the kernel moves it into no cgroup. */
class Ended {
  readonly pid: number;
  readonly #parent: ChildProcess;

  private constructor(pid: number, parent: ChildProcess) {
    this.pid = pid;
    this.#parent = parent;
  }

  static async make(): Promise<Ended> {
    const started = spawn('python3', ['-c', parent], { stdio: ['pipe', 'pipe', 'inherit'] });
    children.push(started);
    const [said] = (await once(started.stdout, 'data')) as [Buffer];
    const ended = new Ended(Number(said), started);
    await eventually('it has ended', () =>
      /^State:\s+Z/m.test(readFileSync(`/proc/${ended.pid}/status`, 'latin1')),
    );
    return ended;
  }

  /** Its parent exits and leaves it to pid 1. */
  async vanish(): Promise<void> {
    this.#parent.stdin!.end();
    await eventually('nothing is left of it', () => !existsSync(`/proc/${this.pid}`));
  }
}

function activeState(name: string): string | undefined {
  return show(name, 'ActiveState').ActiveState;
}

const children: ChildProcess[] = [];

describe('a scope of a process that exited while it was put there', () => {
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
  });

  itElsewhere('is stopped, and its requester is told that the process is gone', async () => {
    const name = 'criu-restore-unborn.scope';
    const ended = await Ended.make();
    const started = native.startScope({
      name,
      slice: 'system.slice',
      description: 'A test',
      pid: ended.pid,
      lane: 0,
    });
    const refused = assert.rejects(started, { code: 'ESRCH' });
    await eventually('it was started', () => activeState(name) === 'active');
    await ended.vanish();
    await refused;
    assert.equal(activeState(name), 'inactive');
  });

  itElsewhere(
    'is stopped by the next start of the service if its requester did not, and scopes with processes stay',
    async () => {
      const [empty, lived] = ['criu-restore-empty.scope', 'criu-restore-lived.scope'];
      const ended = await Ended.make();
      startScope(empty, ended.pid);
      await eventually('it was started', () => activeState(empty) === 'active');
      await ended.vanish();
      const living = spawn('/bin/cat', { stdio: ['pipe', 'ignore', 'inherit'] });
      children.push(living);
      startScope(lived, living.pid!);
      await eventually('the other was started', () => activeState(lived) === 'active');
      run('systemctl', 'restart', 'criu.service');
      await eventually('the empty one is gone', () => activeState(empty) === 'inactive');
      assert.equal((await ask({ type: ReqType.VERSION })).success, true);
      assert.equal(activeState(lived), 'active');
      living.stdin!.end();
      await eventually('the other is gone', () => activeState(lived) === 'inactive');
    },
  );
});

describe('a process in the scope of a restore that holds the capability of engines', () => {
  itElsewhere(
    'is ended by the next start if no restore was verified, and lives on if root restored it',
    async () => {
      const unverified = holder('criu-restore-left');
      const roots = holder('criu-restore-capable-left');
      try {
        for (const { pid } of [unverified, roots]) {
          await eventually(
            'it holds the capability',
            () => statusLine(pid!, 'CapPrm') === '0000010000000000',
          );
        }
        run('systemctl', 'restart', 'criu.service');
        assert.equal((await ask({ type: ReqType.VERSION })).success, true);
        await eventually('what nobody has verified is gone', () => unverified.signalCode === 'SIGKILL');
        await eventually('the journal says so', () => {
          const message = `Ended process ${unverified.pid}, which a restore has left that nobody verified`;
          return run('journalctl', '--boot', '--unit=criu.service', '--output=cat').includes(message);
        });
        // A single pass ends all leftovers.
        assert.equal(roots.signalCode ?? roots.exitCode, null);
      } finally {
        roots.kill('SIGKILL');
        unverified.kill('SIGKILL');
      }
    },
  );
});

/** A process of bob's with no capability but CAP_CHECKPOINT_RESTORE, in a scope. */
function holder(unit: string): ChildProcess {
  const bob = ['setpriv', '--reuid=bob', '--regid=bob', '--init-groups'];
  const capable = ['--inh-caps=-all,+checkpoint_restore', '--ambient-caps=+checkpoint_restore', '--'];
  const scope = ['--quiet', '--scope', '--collect', `--unit=${unit}`, '--slice=user-1501.slice'];
  return spawn('systemd-run', [...scope, ...bob, ...capable, 'sleep', '1000'], { stdio: 'inherit' });
}

/** Like the service's request for a scope, without its cleanup after a failure. */
function startScope(name: string, pid: number): void {
  const manager = [
    'org.freedesktop.systemd1',
    '/org/freedesktop/systemd1',
    'org.freedesktop.systemd1.Manager',
  ];
  const properties = ['2', 'CollectMode', 's', 'inactive-or-failed', 'PIDs', 'au', '1', String(pid)];
  run(
    'busctl',
    'call',
    ...manager,
    'StartTransientUnit',
    'ssa(sv)a(sa(sv))',
    name,
    'fail',
    ...properties,
    '0',
  );
}
