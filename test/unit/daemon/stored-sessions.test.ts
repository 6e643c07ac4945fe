import assert from 'node:assert/strict';
import { fstatSync } from 'node:fs';
import { SessionFile, type SessionSnapshot } from '../../../src/daemon/session-file.ts';
import { sortStored } from '../../../src/daemon/stored-sessions.ts';
import type { AuthorizedRequest } from '../../../src/policy/authorize.ts';
import { native, type OwnedFd } from '../../../src/socket/binding.ts';

const request: AuthorizedRequest = {
  type: 1,
  name: 'DUMP',
  answeredAs: 1,
  keepOpen: false,
  engine: 'confined',
  notifies: false,
};

/** What the store gives back of one session. */
class Kept {
  readonly caller = native.socketpair();
  readonly engine = native.socketpair();
  readonly file = SessionFile.make(Buffer.from('the request'));
  readonly pidfd = native.pidfdOpen(process.pid);
  readonly stderr = native.memfd('criu-stderr', 10);
  readonly callerFd: OwnedFd = this.caller.ours.copy();
  readonly engineFd: OwnedFd = this.engine.ours.copy();
  readonly snapshot: SessionSnapshot = {
    state: { at: 'working', request, callerEnded: false, verified: true },
    progress: 'sent',
    callerInode: String(fstatSync(this.callerFd.number).ino),
    engineInode: String(fstatSync(this.engineFd.number).ino),
    startedAtMs: 7,
    engine: {
      pid: process.pid,
      connection: 3,
      stays: true,
      cgroup: { path: '/x.scope', scope: true },
      confined: {
        uid: 1500,
        traits: {
          permitted: 1n << 40n,
          bounding: (1n << 41n) - 1n,
          inheritable: 0n,
          ambient: 0n,
          noNewPrivs: false,
          umask: 0o22,
          label: undefined,
        },
      },
    },
  };

  get all(): OwnedFd[] {
    return [this.callerFd, this.engineFd, this.file.fd, this.pidfd, this.stderr];
  }

  end(): void {
    for (const fd of this.all) fd.close();
    for (const pair of [this.caller, this.engine]) {
      pair.ours.close();
      pair.theirs.close();
    }
  }
}

describe('a session that systemd has kept', () => {
  let kept: Kept;
  beforeEach(() => {
    kept = new Kept();
  });
  afterEach(() => kept.end());

  it('is what it was, in whatever order its descriptors come back', () => {
    kept.file.write(kept.snapshot);
    for (let turn = 0; turn < 5; turn += 1) {
      const fds = kept.all.map((fd) => native.duplicate(fd));
      const stored = sortStored(42, [...fds.slice(turn), ...fds.slice(0, turn)]);
      assert.ok(stored?.engine);
      assert.deepEqual(stored.snapshot, JSON.parse(JSON.stringify(kept.snapshot, omitBigint), reviveBigint));
      const { caller, engine, file } = stored;
      assert.deepEqual(
        [caller, engine.socket, file.fd, engine.pidfd, engine.stderr].map((fd) => fd?.number),
        fds.map((fd) => fd.number),
      );
      assert.equal(file.packet.toString(), 'the request');
      for (const fd of fds) fd.close();
    }
  });

  it('has no engine before one was started', () => {
    kept.file.write({ ...kept.snapshot, progress: 'unread' });
    const fds = [native.duplicate(kept.callerFd), native.duplicate(kept.file.fd)];
    const stored = sortStored(42, fds);
    assert.ok(stored);
    assert.equal(stored.engine, undefined);
    for (const fd of fds) fd.close();
  });

  it('is none without its connection or its state, and nothing of it stays open', () => {
    kept.file.write(kept.snapshot);
    for (const missing of [kept.callerFd, kept.file.fd]) {
      const fds = kept.all.filter((fd) => fd !== missing).map((fd) => native.duplicate(fd));
      assert.equal(sortStored(42, fds), undefined);
      assert.deepEqual(
        fds.map((fd) => fd.number),
        fds.map(() => -1),
      );
    }
  });

  it('is none with a state that nobody can read', () => {
    const empty = SessionFile.make(Buffer.alloc(0));
    const fds = [native.duplicate(kept.callerFd), native.duplicate(empty.fd)];
    assert.equal(sortStored(42, fds), undefined);
    empty.close();
  });

  it('keeps the state before one that does not fit', () => {
    kept.file.write(kept.snapshot);
    const long = { ...request, name: 'x'.repeat(5000) };
    assert.throws(
      () => kept.file.write({ ...kept.snapshot, state: { at: 'verifying', request: long } }),
      /too large/,
    );
    assert.equal(kept.file.read()?.state.at, 'working');
  });
});

/** As JSON has it: without what is undefined, and with a bigint in words. */
function omitBigint(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? `bigint ${value}` : value;
}

function reviveBigint(_key: string, value: unknown): unknown {
  return typeof value === 'string' && value.startsWith('bigint ') ? BigInt(value.slice(7)) : value;
}
