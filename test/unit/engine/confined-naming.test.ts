/** The moment at which a tree names its engine, with a launcher that tells only how much it was sent. */
import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  constants as fs,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { constants as os, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LaunchError, startConfinedEngine } from '../../../src/engine/confined.ts';
import type { EngineCgroup } from '../../../src/engine/engine-cgroup.ts';
import type { NamedEngine } from '../../../src/engine/grant.ts';
import { native, type OwnedFd } from '../../../src/native/binding.ts';

describe('the engine of a tree that names it', () => {
  let directory: string;
  let caller: { readonly pidfd: OwnedFd; readonly procDirectory: OwnedFd };

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'criu-service-naming-'));
    const launcher = join(directory, 'launcher');
    writeFileSync(
      launcher,
      `#!${execFileSync('which', ['python3'], { encoding: 'utf8' }).trim()}
import socket
open("${directory}/begun", "w")
control = socket.socket(fileno=3)
size = len(control.recv(65536))
open("${directory}/told", "w").write(str(size))
`,
    );
    chmodSync(launcher, 0o755);
    caller = {
      pidfd: native.pidfdOpen(process.pid),
      procDirectory: native.open('/proc/self', fs.O_RDONLY | fs.O_DIRECTORY),
    };
  });

  afterEach(() => {
    caller.pidfd.close();
    caller.procDirectory.close();
    rmSync(directory, { recursive: true });
  });

  /** @returns the error of the start, when the launcher has gone. */
  async function start(isStill: boolean, name: (engine: NamedEngine) => Promise<void>): Promise<unknown> {
    const cgroup = { kill: () => false, remove() {} } as unknown as EngineCgroup;
    const no = (): never => assert.fail('nothing is executed');
    const events = { onMessage: no, onHangup: no, onEnd: no, onLie: no, expectsTerminal: no };
    let gone: Promise<void> | undefined;
    const error = await startConfinedEngine(
      {
        criu: '/bin/true',
        launcher: join(directory, 'launcher'),
        configFile: '/nonexistent',
        preload: '/nonexistent',
        deadlineMs: 60_000,
        timeNamespaces: false,
      },
      {
        ...caller,
        pid: process.pid,
        uid: 1500,
        gid: 1500,
        groups: [],
        bounding: 0n,
        inheritable: 0n,
        ambient: 0n,
        noNewPrivs: false,
        umask: 0,
      },
      {},
      { fromImages: false },
      false,
      undefined,
      { with: async () => cgroup, isStill: () => isStill },
      events,
      (over) => {
        gone = over;
      },
      name,
    ).catch((reason: unknown) => reason);
    await gone;
    return error;
  }

  it('is there, and has not been told what to do, and is told nothing if the tree refuses', async () => {
    const refusal = new Error('the tree refuses');
    const error = await start(true, async (named) => {
      while (!existsSync(join(directory, 'begun'))) await sleep(10);
      // It would have told by now.
      await sleep(500);
      assert.ok(named.isThere());
      throw refusal;
    });
    assert.equal(error, refusal);
    const told = join(directory, 'told');
    // Its connection has ended, unless it was killed before it saw that.
    if (existsSync(told)) assert.match(readFileSync(told, 'latin1'), /^0?$/);
  });

  it('is told what to do when the tree has named it', async () => {
    let isNamed = false;
    await start(true, async () => {
      isNamed = true;
    });
    assert.ok(isNamed);
    assert.ok(Number(readFileSync(join(directory, 'told'), 'latin1')) > 0);
  });

  it('is named by no tree if its caller was moved meanwhile', async () => {
    const error = await start(false, () => assert.fail('it is named'));
    assert.ok(error instanceof LaunchError && error.errno === os.errno.EAGAIN);
  });
});
