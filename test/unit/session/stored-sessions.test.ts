import assert from 'node:assert/strict';
import { fstatSync } from 'node:fs';
import { native, type OwnedFd } from '../../../src/native/binding.ts';
import { maxPacketBytes } from '../../../src/native/limits.ts';
import type { AuthorizedRequest } from '../../../src/policy/authorize.ts';
import { SessionFile, type SessionSnapshot } from '../../../src/session/keep/session-file.ts';
import { sortStored } from '../../../src/session/keep/stored-sessions.ts';

const request: AuthorizedRequest = {
  type: 1,
  name: 'DUMP',
  answeredAs: 1,
  keepOpen: false,
  engine: 'confined',
  notifies: false,
};

/** The descriptors of one session that come back from the store. */
class Kept {
  readonly caller = native.socketpair();
  readonly engine = native.socketpair();
  readonly file = withRequest();
  readonly pidfd = native.pidfdOpen(process.pid);
  readonly stderr = native.memfd('criu-stderr', 10);
  readonly callerFd: OwnedFd = this.caller.ours.copy();
  readonly engineFd: OwnedFd = this.engine.ours.copy();
  readonly snapshot: SessionSnapshot = {
    state: { at: 'working', request },
    callerInode: String(fstatSync(this.callerFd.number).ino),
    engineInode: String(fstatSync(this.engineFd.number).ino),
    startedAtMs: 7,
    engine: {
      serial: 2,
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

  get own(): OwnedFd[] {
    return [this.callerFd, this.file.fd];
  }

  get ofEngine(): OwnedFd[] {
    return [this.engineFd, this.pidfd, this.stderr];
  }

  get all(): OwnedFd[] {
    return [...this.own, ...this.ofEngine];
  }

  end(): void {
    for (const fd of this.all) fd.close();
    for (const pair of [this.caller, this.engine]) {
      pair.ours.close();
      pair.theirs.close();
    }
  }
}

function withRequest(): SessionFile {
  const file = SessionFile.make();
  file.put({ data: Buffer.from('the request'), passedOn: true });
  return file;
}

/** Duplicates, as LISTEN_FDS brings them. */
const again = (fds: readonly OwnedFd[]): OwnedFd[] => fds.map((fd) => native.duplicate(fd));

const turned = (fds: readonly OwnedFd[], by: number): OwnedFd[] => [...fds.slice(by), ...fds.slice(0, by)];

function assertClosed(fds: readonly OwnedFd[]): void {
  assert.deepEqual(
    fds.map((fd) => fd.number),
    fds.map(() => -1),
  );
}

describe('a session that systemd has kept', () => {
  let kept: Kept;
  beforeEach(() => {
    kept = new Kept();
  });
  afterEach(() => kept.end());

  it('is the same whatever the order of its descriptors', () => {
    kept.file.write(kept.snapshot);
    for (let turn = 0; turn < 3; turn += 1) {
      const [own, ofEngine] = [again(kept.own), again(kept.ofEngine)];
      const stored = sortStored(42, {
        own: turned(own, turn % 2),
        engines: new Map([[2, turned(ofEngine, turn)]]),
      });
      assert.ok(stored?.engine);
      assert.deepEqual(stored.snapshot, JSON.parse(JSON.stringify(kept.snapshot, omitBigint), reviveBigint));
      const { caller, engine, file } = stored;
      assert.deepEqual(
        [caller, file.fd, engine.socket, engine.pidfd, engine.stderr].map((fd) => fd?.number),
        [...own, ...ofEngine].map((fd) => fd.number),
      );
      assert.deepEqual(file.packet, { data: Buffer.from('the request'), passedOn: true });
      for (const fd of [...own, ...ofEngine]) fd.close();
    }
  });

  it('has no engine before the first is started', () => {
    kept.file.write({ ...kept.snapshot, state: { at: 'starting', request, packet: 'queued' } });
    const own = again(kept.own);
    const stored = sortStored(42, { own, engines: new Map() });
    assert.ok(stored);
    assert.equal(stored.engine, undefined);
    for (const fd of own) fd.close();
  });

  it('has the engine that its page names; other engines are closed', () => {
    kept.file.write(kept.snapshot);
    const [own, ofEngine] = [again(kept.own), again(kept.ofEngine)];
    const others = [1, 3].map((serial) => {
      const { ours, theirs } = native.socketpair();
      const fds = [native.pidfdOpen(1), native.memfd('criu-stderr', 10), ours.release()];
      return { serial, fds, theirs: native.adopt(theirs) };
    });
    const stored = sortStored(42, {
      own,
      engines: new Map([[2, ofEngine], ...others.map(({ serial, fds }) => [serial, fds] as const)]),
    });
    assert.equal(stored?.engine?.socket?.number, ofEngine[0]?.number);
    for (const { fds, theirs } of others) {
      assertClosed(fds);
      // CRIU, in a read of its connection, exits.
      assert.equal(theirs.peek(0).kind, 'end');
      theirs.close();
    }
    for (const fd of [...own, ...ofEngine]) fd.close();
  });

  it('is dropped without its connection or its state, and its descriptors are closed', () => {
    kept.file.write(kept.snapshot);
    for (const present of kept.own) {
      const [own, ofEngine] = [again([present]), again(kept.ofEngine)];
      assert.equal(sortStored(42, { own, engines: new Map([[2, ofEngine]]) }), undefined);
      assertClosed([...own, ...ofEngine]);
    }
  });

  it('is dropped if its state cannot be read', () => {
    const empty = SessionFile.make();
    assert.equal(sortStored(42, { own: again([kept.callerFd, empty.fd]), engines: new Map() }), undefined);
    empty.close();
  });

  it('keeps the previous state if the new state does not fit', () => {
    kept.file.write(kept.snapshot);
    const long = { ...request, name: 'x'.repeat(5000) };
    assert.throws(
      () => kept.file.write({ ...kept.snapshot, state: { at: 'verifying', request: long } }),
      /too large/,
    );
    assert.equal(kept.file.read()?.state.at, 'working');
  });

  it('keeps the previous request until its page names the next, however large that is', () => {
    kept.file.write(kept.snapshot);
    const large = Buffer.alloc(maxPacketBytes, 'x');
    const next = (): string => {
      const file = SessionFile.again(kept.file.fd);
      file.read();
      return file.packet.data.toString();
    };
    for (const packet of [large, Buffer.from('the third'), large]) {
      const before = next();
      kept.file.put({ data: packet, passedOn: false });
      assert.equal(next(), before);
      kept.file.write(kept.snapshot);
      assert.equal(next(), packet.toString());
    }
  });
});

/** As JSON shows it: undefined is left out, and a bigint becomes text. */
function omitBigint(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? `bigint ${value}` : value;
}

function reviveBigint(_key: string, value: unknown): unknown {
  return typeof value === 'string' && value.startsWith('bigint ') ? BigInt(value.slice(7)) : value;
}
