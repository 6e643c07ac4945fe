import assert from 'node:assert/strict';
import { constants as os } from 'node:os';
import { authorize, type Decision, type Facts } from '../../../src/policy/authorize.ts';
import { requestTable } from '../../../src/policy/request-table.ts';
import type { Traits } from '../../../src/policy/standing.ts';
import type { TreeThread } from '../../../src/proc/process-tree.ts';
import { decodeRequest, encodeRequest } from '../../../src/protocol/codec.ts';
import { type CriuOpts, type CriuReq, ReqType } from '../../../src/protocol/messages.ts';

/** The caller 100 descends from 50; the service 7 from 1. */
const ancestors = new Map([
  [100, [100, 50, 1]],
  [7, [7, 1]],
]);

const facts: Facts = {
  phase: 'first',
  standing: { kind: 'fully-privileged' },
  callerPid: 100,
  callerUid: 0,
  callerGid: 0,
  groupName: () => undefined,
  around: [],
  allCapabilities: 0xffn,
  engines: new Set(),
  restorers: { who: 'all' },
  callerGroups: [0],
  passedOn: false,
  hidden: false,
  ptraceScope: 0,
  canName: true,
  tracksMemory: true,
  servicePid: 7,
  treeContains: (root, pid) => ancestors.get(pid)?.includes(root) ?? false,
};

const noDir: CriuOpts = { images_dir_fd: -1 };

function decide(message: CriuReq, more: Partial<Facts> = {}): Decision {
  return authorize(message, { ...facts, ...more });
}

function planOf(message: CriuReq) {
  const decision = decide(message);
  assert.equal(decision.kind, 'relay');
  return decision.kind === 'relay' ? decision.plan : assert.fail();
}

/** Decodes the message that a confined engine gets. */
function freshOf(decision: Decision): CriuReq {
  const decoded = decodeRequest(
    (decision.kind === 'relay' && decision.plan.fresh) || Buffer.alloc(0),
    'strict',
  );
  return JSON.parse(
    JSON.stringify(decoded.kind === 'request' ? decoded.message : assert.fail(decoded.reason)),
  );
}

function refusalOf(decision: Decision) {
  assert.equal(decision.kind, 'refuse');
  return decision.kind === 'refuse' ? decision : assert.fail();
}

describe('authorize', () => {
  const types = Object.values(ReqType).filter((type): type is ReqType => typeof type === 'number');

  it('has a row for each request type except EMPTY', () => {
    assert.deepEqual([...requestTable.keys()].sort(), types.filter((type) => type !== ReqType.EMPTY).sort());
  });

  for (const type of [ReqType.EMPTY, 14, 99, -1, 2 ** 31 - 1]) {
    it(`answers type ${type}, which is no request, with EMPTY`, () => {
      const refusal = refusalOf(decide({ type }));
      assert.equal(refusal.type, ReqType.EMPTY);
      assert.equal(refusal.errno, os.errno.EINVAL);
    });
  }

  it('refuses NOTIFY when no notification waits for it', () => {
    assert.equal(refusalOf(decide({ type: ReqType.NOTIFY })).type, ReqType.EMPTY);
  });

  it('takes only PRE_DUMP and DUMP in a pre-dump loop', () => {
    for (const type of types) {
      const decision = decide(
        { type, opts: { ...noDir, pid: 500 }, features: {} },
        { phase: 'pre-dump-loop' },
      );
      assert.equal(
        decision.kind,
        type === ReqType.DUMP || type === ReqType.PRE_DUMP ? 'relay' : 'refuse',
        ReqType[type],
      );
    }
  });

  it('takes only NOTIFY while the engine waits for an answer', () => {
    for (const type of types) {
      const decision = decide({ type, opts: noDir, features: {} }, { phase: 'notify' });
      assert.equal(decision.kind, type === ReqType.NOTIFY ? 'answer' : 'refuse', ReqType[type]);
    }
  });

  it('refuses a caller that cannot be served every request except a probe, with the reason and the reply type of the request', () => {
    const standing = { kind: 'refused', reason: 'only root is served' } as const;
    for (const [type, row] of requestTable) {
      if (type === ReqType.NOTIFY) continue;
      const decision = decide({ type, opts: noDir, features: {} }, { standing });
      if (type === ReqType.VERSION || type === ReqType.FEATURE_CHECK) {
        assert.equal(decision.kind === 'relay' && decision.request.engine, 'probe');
        continue;
      }
      const refusal = refusalOf(decision);
      assert.equal(refusal.type, row.answeredAs ?? type);
      assert.equal(refusal.errno, os.errno.EPERM);
      assert.match(refusal.reason, /only root is served/);
    }
  });

  it('replies where CRIU would close the connection for keep_open', () => {
    for (const [type, row] of requestTable) {
      if (type === ReqType.NOTIFY) continue;
      const decision = decide({ type, opts: { ...noDir, pid: 500 }, features: {}, keep_open: true });
      assert.equal(decision.kind, row.keepOpen ? 'relay' : 'refuse', ReqType[type]);
    }
  });

  it('refuses a request without its main part, which would crash CRIU', () => {
    for (const [type, row] of requestTable) {
      if (type === ReqType.NOTIFY) continue;
      assert.equal(decide({ type }).kind, row.needs ? 'refuse' : 'relay', ReqType[type]);
    }
  });

  it('hands over a dump without a pid, because it means the caller', () => {
    assert.equal(decide({ type: ReqType.DUMP, opts: noDir }).kind, 'hand-over');
  });

  it('hands over a dump of the caller or of one of its ancestors', () => {
    for (const pid of [100, 50])
      assert.equal(decide({ type: ReqType.DUMP, opts: { ...noDir, pid } }).kind, 'hand-over');
    assert.equal(decide({ type: ReqType.DUMP, opts: { ...noDir, pid: 51 } }).kind, 'relay');
  });

  it('refuses to hand over options that need rewriting or answers', () => {
    const inTheWay: CriuOpts[] = [
      { ...noDir, notify_scripts: true },
      { ...noDir, inherit_fd: [{ key: 'k', fd: 3 }] },
      { ...noDir, ps: { fd: 4 } },
    ];
    for (const opts of inTheWay)
      assert.equal(refusalOf(decide({ type: ReqType.DUMP, opts })).errno, os.errno.EINVAL);
  });

  it('relays a pre-dump of the caller under its own pid, because the peer of the engine is the service', () => {
    assert.equal(planOf({ type: ReqType.PRE_DUMP, opts: noDir }).pid, 100);
    assert.equal(planOf({ type: ReqType.SINGLE_PRE_DUMP, opts: noDir }).pid, 100);
    assert.equal(planOf({ type: ReqType.PRE_DUMP, opts: { ...noDir, pid: 500 } }).pid, undefined);
  });

  it('refuses a tree that contains the service', () => {
    for (const pid of [7, 1])
      assert.match(
        refusalOf(decide({ type: ReqType.DUMP, opts: { ...noDir, pid } })).reason,
        /contains this service/,
      );
  });

  it('refuses rst_sibling to every caller', () => {
    const refusal = refusalOf(decide({ type: ReqType.RESTORE, opts: { ...noDir, rst_sibling: true } }));
    assert.equal(refusal.errno, os.errno.EPERM);
  });

  it('plans a copy for each descriptor that CRIU would look up in its peer', () => {
    const opts: CriuOpts = { images_dir_fd: 3, work_dir_fd: 0, status_fd: 5, pidfd_store_sk: 6, pid: 500 };
    assert.deepEqual(planOf({ type: ReqType.DUMP, opts }).peerFds, [
      { field: 'images_dir_fd', callerNumber: 3 },
      { field: 'work_dir_fd', callerNumber: 0 },
      { field: 'status_fd', callerNumber: 5 },
      { field: 'pidfd_store_sk', callerNumber: 6 },
    ]);
  });

  it('takes images_dir_fd -1 as absent, as CRIU does', () => {
    assert.deepEqual(planOf({ type: ReqType.DUMP, opts: { ...noDir, pid: 500 } }).peerFds, []);
  });

  it('plans descriptors that CRIU uses as its own under the same numbers, each once', () => {
    const opts: CriuOpts = {
      ...noDir,
      inherit_fd: [
        { key: 'a', fd: 9 },
        { key: 'b', fd: 8 },
        { key: 'c', fd: 9 },
      ],
      ps: { fd: 8 },
    };
    assert.deepEqual(planOf({ type: ReqType.RESTORE, opts }).engineFds, [9, 8]);
  });

  it('lends CHECK a directory for its log only if the request has none', () => {
    assert.equal(planOf({ type: ReqType.CHECK }).lendLogDirectory, true);
    assert.equal(planOf({ type: ReqType.CHECK, opts: noDir }).lendLogDirectory, true);
    assert.equal(planOf({ type: ReqType.CHECK, opts: { ...noDir, work_dir_fd: 4 } }).lendLogDirectory, true);
    assert.equal(planOf({ type: ReqType.CHECK, opts: { images_dir_fd: 4 } }).lendLogDirectory, false);
    assert.equal(
      planOf({ type: ReqType.CHECK, opts: { ...noDir, images_dir: '/x' } }).lendLogDirectory,
      false,
    );
    assert.equal(planOf({ type: ReqType.VERSION }).lendLogDirectory, false);
  });
});

describe('authorize for a confined caller', () => {
  const traits: Traits = {
    permitted: 0n,
    bounding: 0n,
    inheritable: 0n,
    ambient: 0n,
    noNewPrivs: false,
    umask: 0o22,
    label: undefined,
  };
  const hers: TreeThread = {
    pid: 500,
    tid: 500,
    uids: [1500, 1500, 1500, 1500],
    gids: [1500, 1500, 1500, 1500],
    inheritable: 0n,
    permitted: 0n,
    bounding: 0xffn,
    noNewPrivs: false,
    seccomp: 0,
    mapped: false,
  };
  const alice: Partial<Facts> = {
    standing: { kind: 'confined', traits },
    callerUid: 1500,
    callerGid: 1500,
    tree: [hers],
    engines: new Set([502]),
  };
  const dump = (opts: Partial<CriuOpts> = {}): CriuReq => ({
    type: ReqType.DUMP,
    opts: { images_dir_fd: 3, pid: 500, ...opts },
  });

  it('dumps its own tree with an engine that has the caller’s identity', () => {
    const decision = decide(dump(), alice);
    assert.equal(decision.kind === 'relay' && decision.request.engine, 'confined');
  });

  it('uses a probe for facts that every caller may know', () => {
    for (const message of [{ type: ReqType.VERSION }, { type: ReqType.FEATURE_CHECK, features: {} }]) {
      const decision = decide(message, alice);
      assert.equal(decision.kind === 'relay' && decision.request.engine, 'probe');
    }
  });

  it('gives a probe nothing from the caller: no descriptor, no path, no pid', () => {
    const opts: CriuOpts = { images_dir_fd: 3, work_dir_fd: 4, status_fd: 5, images_dir: '/x', pid: 9 };
    const decision = decide({ type: ReqType.VERSION, opts }, alice);
    assert.deepEqual(decision.kind === 'relay' && decision.plan, {
      peerFds: [],
      openedBy: 'service',
      engineFds: [],
      fresh: encodeRequest({ type: ReqType.VERSION }),
      lendLogDirectory: false,
    });
  });

  it('refuses a dump that its caller could not restore, and serves it with a warning if the process runs on', () => {
    const facts = { ...alice, tree: [{ ...hers, otherGroups: { more: [44], fewer: [] } }] };
    assert.match(refusalOf(decide(dump(), facts)).reason, /groups 44, which you lack.*leave_running/);
    for (const opts of [{ leave_running: true }, { leave_stopped: true }]) {
      const decision = decide(dump(opts), facts);
      assert.match(
        (decision.kind === 'relay' && decision.request.warning) || '',
        /groups 44, which you lack/,
      );
    }
    const own = decide({ type: ReqType.DUMP, opts: { images_dir_fd: 3, leave_running: true } }, facts);
    assert.match((own.kind === 'hand-over' && own.request.warning) || '', /groups 44/);
    const root = decide(dump(), { ...facts, standing: { kind: 'fully-privileged' } });
    assert.equal(root.kind === 'relay' && root.request.warning, undefined);
  });

  it('keeps a warning short enough for the page of a session', () => {
    const more = Array.from({ length: 5 }, () => 44);
    const facts = {
      ...alice,
      groupName: () => 'x'.repeat(300),
      tree: [{ ...hers, otherGroups: { more, fewer: [] } }],
    };
    const decision = decide(dump({ leave_running: true }), facts);
    assert.equal(decision.kind === 'relay' && decision.request.warning?.length, 500);
  });

  it('refuses an option that the installed CRIU does not know, and names the version that does', () => {
    const old = { ...alice, criu: { major: 4, minor: 1, sublevel: 1 } };
    assert.equal(
      refusalOf(decide(dump({ image_io_mode: 1 }), old)).reason,
      'DUMP refused: the CRIU installed here (4.1.1) does not know image_io_mode; 4.3 does',
    );
    const newOptions: Partial<CriuOpts>[] = [
      { compress: 1 },
      { compress_acceleration: 2 },
      { compress_region_size: 4096 },
      { decompress_threads: 0 },
    ];
    for (const opts of newOptions) refusalOf(decide(dump(opts), old));
  });

  it('serves such an option if CRIU acts by its value anyway, if it knows the option, or if its version is unknown', () => {
    const old = { major: 4, minor: 1, sublevel: 1 };
    for (const opts of [{ image_io_mode: 0 }, { compress: 0 }, { decompress_threads: 1 }])
      assert.equal(decide(dump(opts), { ...alice, criu: old }).kind, 'relay');
    for (const criu of [{ ...old, minor: 3 }, { ...old, minor: 2, isDevelopment: true }, undefined])
      assert.equal(decide(dump({ image_io_mode: 1 }), { ...alice, criu }).kind, 'relay');
    const root: Partial<Facts> = { standing: { kind: 'fully-privileged' }, criu: old };
    assert.equal(decide(dump({ image_io_mode: 1, pid: 500 }), root).kind, 'relay');
  });

  it('has CHECK tell the limits of the installed CRIU, and no other request', () => {
    const facts = { ...alice, limits: ['CRIU 4.1.1 has a fault', 'CRIU 4.1.1 is too old'] };
    const warningOf = (message: CriuReq) => {
      const decision = decide(message, facts);
      return decision.kind === 'relay' ? decision.request.warning : 'none';
    };
    assert.equal(
      warningOf({ type: ReqType.CHECK, opts: { images_dir_fd: 3 } }),
      'CRIU 4.1.1 has a fault; CRIU 4.1.1 is too old',
    );
    assert.equal(warningOf(dump()), undefined);
  });

  it('hands over a dump of the caller itself', () => {
    assert.equal(decide({ type: ReqType.DUMP, opts: { images_dir_fd: 3 } }, alice).kind, 'hand-over');
  });

  const foreign: [string, TreeThread, RegExp][] = [
    [
      'another real uid',
      { ...hers, pid: 501, uids: [0, 1500, 1500, 1500] },
      /process 501 .*uid 0, and yours is 1500/,
    ],
    [
      'another effective uid',
      { ...hers, pid: 501, uids: [1500, 1501, 1500, 1501] },
      /process 501 .*uid 1501/,
    ],
    ['another saved uid', { ...hers, pid: 501, uids: [1500, 1500, 0, 1500] }, /process 501 .*uid 0/],
    [
      'another gid',
      { ...hers, pid: 501, gids: [1500, 44, 1500, 44] },
      /process 501 .*gid 44, and yours is 1500/,
    ],
    ['a capability that it lacks', { ...hers, pid: 501, permitted: 4n }, /process 501 .*capabilities/],
    ['an engine of ours', { ...hers, pid: 502 }, /process 502 .*engine/],
  ];
  for (const [what, thread, reason] of foreign) {
    it(`refuses a tree in which one thread has ${what}, for every type and for a hand-over`, () => {
      const facts = { ...alice, tree: [hers, thread] };
      for (const type of [ReqType.DUMP, ReqType.PRE_DUMP, ReqType.SINGLE_PRE_DUMP]) {
        const refusal = refusalOf(decide({ ...dump(), type }, facts));
        assert.equal(refusal.errno, os.errno.EPERM);
        assert.match(refusal.reason, reason);
        refusalOf(decide({ type, opts: { images_dir_fd: 3 } }, facts));
      }
    });
  }

  it('refuses a dump that ends processes which only root could restore, and allows it with leave_running', () => {
    const facts = { ...alice, tree: [{ ...hers, bounding: 1n }] };
    assert.match(refusalOf(decide(dump(), facts)).reason, /^DUMP refused: process 500 .*bounding set/);
    assert.equal(decide(dump({ leave_running: true }), facts).kind, 'relay');
  });

  it('serves a pre-dump and track_mem, unless the kernel does not track memory', () => {
    for (const message of [dump({ track_mem: true }), { ...dump(), type: ReqType.PRE_DUMP }]) {
      const decision = decide(message, alice);
      assert.equal(decision.kind, 'relay');
      // An engine without the capability, whose child works; CRIU checks that the kernel tracks before it freezes anything.
      const isPreDump = message.type === ReqType.PRE_DUMP;
      assert.equal(decision.kind === 'relay' && decision.request.noCapability === true, isPreDump);
      const { reason } = refusalOf(decide(message, { ...alice, tracksMemory: false }));
      assert.match(
        reason,
        /refused: this kernel does not track the memory of processes .*: use a plain DUMP/,
      );
    }
    assert.equal(decide(dump(), { ...alice, tracksMemory: false }).kind, 'relay');
  });

  it('puts its page server into a scope, and on the loopback address unless the request names another', () => {
    const server = (ps?: CriuOpts['ps']): unknown => {
      const opts: CriuOpts = { images_dir_fd: 3, ...(ps === undefined ? {} : { ps }) };
      const decision = decide({ type: ReqType.PAGE_SERVER, opts }, alice);
      assert.equal(decision.kind === 'relay' && decision.request.scope, 'page-server');
      return freshOf(decision).opts?.ps;
    };
    assert.deepEqual(server(), { address: '127.0.0.1' });
    assert.deepEqual(server({ port: 7000, address: '' }), { port: 7000, address: '127.0.0.1' });
    assert.deepEqual(server({ address: '192.0.2.1' }), { address: '192.0.2.1' });
  });

  it('reports a missing process with ESRCH', () => {
    assert.equal(refusalOf(decide(dump(), { ...alice, tree: [] })).errno, os.errno.ESRCH);
  });

  const dangerous: [string, Partial<CriuOpts>][] = [
    ['config_file', { config_file: '/tmp/x' }],
    ['exec_cmd', { exec_cmd: ['sh'] }],
    ['lazy_pages', { lazy_pages: true }],
    ['log_to_stderr', { log_to_stderr: true }],
    ['rst_sibling', { rst_sibling: true }],
    ['inherit_fd', { inherit_fd: Array.from({ length: 65 }, (_, fd) => ({ key: 'k', fd })) }],
    ['ps.fd', { ps: { fd: 0 } }],
    ['pidfd_store_sk', { pidfd_store_sk: 0 }],
    ['log_file', { log_file: '-' }],
  ];
  for (const [name, opts] of dangerous) {
    it(`refuses ${name}, in the first message and in the second of a loop`, () => {
      for (const phase of ['first', 'pre-dump-loop'] as const) {
        const refusal = refusalOf(decide(dump(opts), { ...alice, phase }));
        assert.equal(refusal.errno, os.errno.EPERM);
        assert.ok(refusal.reason.includes(name), refusal.reason);
      }
    });
  }

  it('allows a value of false or an empty list for options that it refuses', () => {
    assert.equal(decide(dump({ lazy_pages: false, exec_cmd: [] }), alice).kind, 'relay');
  });

  it('gives an engine copies of her descriptors, under numbers that are not its own', () => {
    const inherit_fd = [
      { key: 'pipe:[1]', fd: 9 },
      { key: 'tmp/log', fd: 3 },
      { key: 'pipe:[2]', fd: 9 },
    ];
    const decision = decide({ type: ReqType.RESTORE, opts: { images_dir_fd: 3, inherit_fd } }, alice);
    assert.deepEqual(decision.kind === 'relay' && decision.plan.engineFds, [9, 3, 9]);
    assert.deepEqual(freshOf(decision).opts?.inherit_fd, [
      { key: 'pipe:[1]', fd: 64 },
      { key: 'tmp/log', fd: 65 },
      { key: 'pipe:[2]', fd: 66 },
    ]);
    const root = planOf({ type: ReqType.RESTORE, opts: { images_dir_fd: 3, inherit_fd } });
    assert.deepEqual([root.engineFds, root.fresh], [[9, 3], undefined]);
  });

  it('opens an images directory that is given as a path with the caller’s rights', () => {
    const decision = decide(dump({ images_dir_fd: -1, images_dir: '/home/alice/images' }), alice);
    assert.equal(decision.kind === 'relay' && decision.plan.imagesDir, '/home/alice/images');
  });

  it('refuses requests that only the engine of an earlier request could serve', () => {
    for (const type of [ReqType.PAGE_SERVER_CHLD, ReqType.WAIT_PID]) {
      assert.equal(refusalOf(decide({ ...dump(), type }, alice)).errno, os.errno.EPERM);
    }
  });

  const restore: CriuReq = { type: ReqType.RESTORE, opts: { images_dir_fd: 3 } };

  it('allows restores to all callers or to a group, as --restore says', () => {
    assert.equal(decide(restore, alice).kind, 'relay');
    const restorers = { who: 'group', name: 'ckpt', gid: 77 } as const;
    assert.equal(decide(restore, { ...alice, restorers, callerGroups: [1500, 77] }).kind, 'relay');
    assert.match(
      refusalOf(decide(restore, { ...alice, restorers, callerGroups: [1500] })).reason,
      /group ckpt/,
    );
    assert.match(refusalOf(decide(restore, { ...alice, restorers: { who: 'root' } })).reason, /only root/);
  });

  it('passes on the master ends of terminals only if the caller asked for them and for notifications', () => {
    const terminal = (opts: Partial<CriuOpts>) => {
      const decision = decide({ ...restore, opts: { images_dir_fd: 3, ...opts } }, alice);
      return decision.kind === 'relay' && decision.request.terminal;
    };
    assert.equal(terminal({ orphan_pts_master: true, notify_scripts: true }), true);
    assert.equal(terminal({ orphan_pts_master: true }), undefined);
    assert.equal(terminal({ notify_scripts: true }), undefined);
  });

  it('asks the engine for notifications even if the caller wants none', () => {
    const decision = decide(restore, alice);
    assert.equal(freshOf(decision).opts?.notify_scripts, true);
    assert.equal(decision.kind === 'relay' && decision.request.notifies, false);
  });

  it('refuses requests that Yama’s ptrace_scope would make fail, and allows the rest', () => {
    const kinds = [0, 1, 2, 3].map((ptraceScope) => [
      decide(dump(), { ...alice, ptraceScope }).kind,
      decide(restore, { ...alice, ptraceScope }).kind,
    ]);
    assert.deepEqual(kinds, [
      ['relay', 'relay'],
      ['relay', 'relay'],
      ['refuse', 'refuse'],
      ['refuse', 'refuse'],
    ]);
    const named = [0, 1].map((ptraceScope) => {
      const decision = decide(dump(), { ...alice, ptraceScope });
      return decision.kind === 'relay' && decision.request.namesEngine;
    });
    assert.deepEqual(named, [undefined, true]);
    assert.match(
      refusalOf(decide(dump(), { ...alice, ptraceScope: 1, canName: false })).reason,
      /ptrace_scope is 1.*set it to 0/,
    );
    const tracer = { kind: 'confined', traits: { ...traits, ambient: 1n << 19n } } as const;
    assert.equal(decide(dump(), { ...alice, standing: tracer, ptraceScope: 2 }).kind, 'relay');
  });

  it('refuses a dump that names its engine if another process than the caller has sent it', () => {
    const passedOn = { ...alice, passedOn: true };
    const refusal = refusalOf(decide(dump(), { ...passedOn, ptraceScope: 1 }));
    assert.equal(refusal.errno, os.errno.EPERM);
    assert.match(refusal.reason, /ptrace_scope is 1, so the process that made this connection must send/);
    assert.equal(decide(dump(), { ...passedOn, ptraceScope: 0 }).kind, 'relay');
    assert.equal(decide(restore, { ...passedOn, ptraceScope: 1 }).kind, 'relay');
  });

  it('refuses the answer to a notification if the caller’s credentials have changed', () => {
    const standing = { kind: 'refused', reason: 'changed' } as const;
    assert.equal(decide({ type: ReqType.NOTIFY }, { ...alice, standing, phase: 'notify' }).kind, 'refuse');
  });

  it('refuses root a dump that ends a stopped job, and warns if the job runs on', () => {
    const job = [{ pid: 500, parent: 50, group: 500, session: 50, stopped: true }];
    const opts = { ...noDir, pid: 500, shell_job: true };
    const refusal = refusalOf(decide({ type: ReqType.DUMP, opts }, { job }));
    assert.equal(refusal.errno, os.errno.EPERM);
    assert.match(refusal.reason, /^DUMP refused: process 500 of the tree is stopped, .*: continue it first/);
    const kept = decide({ type: ReqType.DUMP, opts: { ...opts, leave_running: true } }, { job });
    assert.match(
      (kept.kind === 'relay' && kept.request.warning) || '',
      /^process 500 of the tree is stopped/,
    );
    assert.equal(
      decide({ type: ReqType.DUMP, opts }, { job: [{ ...job[0]!, stopped: false }] }).kind,
      'relay',
    );
  });
});
