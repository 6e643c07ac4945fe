/** Sweeps over real processes: those that an engine would leave, and bystanders. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ConfinedIdentity } from '../../../src/engine/confined-identity.ts';
import { unifiedMount } from '../../../src/engine/our-cgroups.ts';
import { ticksNow } from '../../../src/proc/audit-session.ts';
import type { SeenProcess } from '../../../src/proc/holders.ts';
import { endEscaped, endTracedElsewhere, prepareSweeps } from '../../../src/session/trees/sweep.ts';
import { cannotShow } from '../../native/support.ts';

/** A uid without an account, different in each run. */
const uid = 900_000 + (process.pid % 50_000);
const traits = {
  permitted: 0n,
  bounding: 0n,
  inheritable: 0n,
  ambient: 0n,
  noNewPrivs: false,
  umask: 0o22,
  label: undefined,
};

/** True unless the process has gone or is a zombie. */
function runs(pid: number): boolean {
  try {
    return !/^State:\s[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return false;
  }
}

describe('a sweep', () => {
  const directory = mkdtempSync(join(tmpdir(), 'criu-sweep-'));
  const program = join(directory, 'holder');
  const capable = join(directory, 'capable');
  const setuid = join(directory, 'setuid');
  const children: ChildProcess[] = [];
  const told: { ended: number[]; unknown: SeenProcess[]; failures: Error[] } = {
    ended: [],
    unknown: [],
    failures: [],
  };

  before(() => {
    chmodSync(directory, 0o755);
    const source = join(import.meta.dirname, '..', '..', 'native', 'fixtures', 'holder.c');
    const flags = ['-O1', '-Wall', '-Wextra', '-Werror', '-static', '-pthread'];
    execFileSync('gcc', [...flags, '-o', program, source], { stdio: 'inherit' });
    for (const [copy, mode] of [
      [capable, 0o755],
      [setuid, 0o4755],
    ] as const) {
      copyFileSync(program, copy);
      chmodSync(copy, mode);
    }
    // cap_checkpoint_restore+ep, as setcap(8) writes it (vfs_ns_cap_data of the kernel).
    const value = Buffer.alloc(20);
    value.writeUInt32LE(0x02000001, 0);
    value.writeUInt32LE(1 << 8, 12);
    execFileSync('python3', [
      '-c',
      'import os, sys; os.setxattr(sys.argv[1], "security.capability", bytes.fromhex(sys.argv[2]))',
      capable,
      value.toString('hex'),
    ]);
    mkdirSync(join(directory, 'runtime'));
    prepareSweeps(join(directory, 'runtime'), {
      onEnded: ({ pid }) => told.ended.push(pid),
      onUnknown: (process) => told.unknown.push(process),
      onFailure: (error) => told.failures.push(error),
    });
  });
  beforeEach(() => {
    told.ended = [];
    told.unknown = [];
  });
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    assert.deepEqual([told.failures, readdirSync(join(directory, 'runtime'))], [[], []]);
  });
  after(() => {
    prepareSweeps(undefined, { onEnded: () => {}, onUnknown: () => {}, onFailure: () => {} });
    rmSync(directory, { recursive: true });
  });

  interface How {
    /** With the capability, inherited as from an engine or a login. */
    readonly capable?: boolean;
    /** In an audit session of its own. */
    readonly session?: boolean;
    readonly cgroup?: string;
  }

  /** Starts a process. Resolves when its program is ready; by then it may have been replaced by a child. */
  async function start(how: How, ...command: string[]): Promise<{ child: ChildProcess; session: number }> {
    const set = how.capable ? '+checkpoint_restore' : '-all';
    const sets = how.capable ? [`--inh-caps=-all,${set}`, `--ambient-caps=${set}`] : [`--inh-caps=${set}`];
    const setpriv = [
      'setpriv',
      `--reuid=${uid}`,
      `--regid=${uid}`,
      '--clear-groups',
      ...sets,
      '--',
      ...command,
    ];
    const first = [
      how.session ? `echo ${uid} >/proc/self/loginuid` : ':',
      how.cgroup ? `echo $$ >${how.cgroup}/cgroup.procs` : ':',
      'cat /proc/self/sessionid 2>/dev/null; echo',
      'exec "$@"',
    ];
    const child = spawn('sh', ['-c', first.join('; '), 'sh', ...setpriv], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    let said = '';
    await new Promise<void>((resolve, reject) => {
      child.stdout.on('data', (data) => {
        said += data;
        if (said.includes('ready')) resolve();
      });
      child.once('exit', () => {
        if (!said.includes('ready')) reject(new Error('it has ended'));
      });
    });
    return { child, session: Number(said.split('\n')[0]) };
  }

  const isThere = ({ exitCode, signalCode }: ChildProcess): boolean =>
    exitCode === null && signalCode === null;

  /** The exit of a process, which may be known a moment later. */
  const end = (child: ChildProcess): Promise<unknown> =>
    isThere(child)
      ? new Promise((resolve) => child.once('exit', (_code, signal) => resolve(signal)))
      : Promise.resolve(child.signalCode);

  const engine = (session: number | undefined, since = ticksNow()): ConfinedIdentity => ({
    uid,
    gid: uid,
    traits,
    since,
    ...(session === undefined ? {} : { session }),
  });

  function needsAudit(context: Mocha.Context): void {
    if (!existsSync('/proc/self/sessionid')) cannotShow(context, 'this kernel has no audit (CONFIG_AUDIT)');
  }

  /** Processes that have the capability from a source other than an engine. */
  async function bystanders(): Promise<ChildProcess[]> {
    const unshare = ['unshare', '--user', '--map-root-user'];
    const started = [
      await start({ capable: true }, program, 'sleep'),
      await start({ capable: true, session: true }, program, 'sleep'),
      await start({ capable: true }, program, 'churn', '50'),
      await start({}, ...unshare, program, 'sleep'),
      await start({}, ...unshare, ...unshare, program, 'sleep'),
      await start({}, capable, 'sleep'),
      await start({}, setuid, 'sleep'),
    ];
    return started.map(({ child }) => child);
  }

  it('kills the processes in the audit session of an engine, and spares all others', async function () {
    needsAudit(this);
    const others = await bystanders();
    const { child, session } = await start({ capable: true, session: true }, program, 'second-thread');
    await endEscaped(engine(session));
    assert.equal(await end(child), 'SIGKILL');
    assert.deepEqual(
      others.filter((other) => !isThere(other)),
      [],
    );
    assert.deepEqual([told.ended, told.unknown], [[child.pid], []]);
  });

  it('spares processes of that session without the capability, or whose caller has it anyway', async function () {
    needsAudit(this);
    const { child, session } = await start({ session: true }, program, 'sleep');
    await endEscaped(engine(session));
    const { child: capable, session: other } = await start(
      { capable: true, session: true },
      program,
      'sleep',
    );
    await endEscaped({ ...engine(other), traits: { ...traits, permitted: 1n << 40n } });
    assert.deepEqual([isThere(child), isThere(capable), told.ended], [true, true, []]);
  });

  it('without an audit session, kills younger processes that have inherited the capability', async () => {
    const older = await start({ capable: true }, program, 'sleep');
    // Start times are in hundredths of a second.
    await new Promise((resolve) => setTimeout(resolve, 50));
    const since = ticksNow();
    const { child } = await start({ capable: true }, program, 'sleep');
    const others = [older, await start({}, capable, 'sleep'), await start({}, setuid, 'sleep')];
    await endEscaped(engine(undefined, since));
    assert.equal(await end(child), 'SIGKILL');
    assert.deepEqual(
      others.filter((other) => !isThere(other.child)),
      [],
    );
    assert.deepEqual(told.ended, [child.pid]);
  });

  describe('of a unit of that user', () => {
    let cgroup: string;
    before(function () {
      try {
        cgroup = join(unifiedMount(), `criu-sweep-${process.pid}`);
        mkdirSync(cgroup);
        chownSync(cgroup, uid, uid);
      } catch (error) {
        cannotShow(this, `no cgroup can be made here: ${(error as Error).message}`);
      }
    });
    after(async () => {
      writeFileSync(join(cgroup, 'cgroup.kill'), '1');
      while (/^populated 1$/m.test(readFileSync(join(cgroup, 'cgroup.events'), 'latin1')))
        await new Promise((resolve) => setTimeout(resolve, 10));
      rmdirSync(cgroup);
    });

    it('kills processes that fork faster than they are read and respawn when killed, and thaws everything else', async function () {
      needsAudit(this);
      const neighbour = await start({ cgroup }, program, 'sleep');
      const { session } = await start({ capable: true, session: true, cgroup }, program, 'hydra');
      await endEscaped(engine(session));
      assert.ok(told.ended.length > 0);
      // On a busy machine processes in other cgroups may not settle. A process in an unknown cgroup counts as a process of this test.
      assert.deepEqual(
        told.unknown.filter((process) => process.cgroup === '' || cgroup.endsWith(process.cgroup)),
        [],
      );
      // Its children are not ours to wait for, so look for them in their unit. A killed process needs a processor to end; a process
      // that was spared would fork for ever.
      const alive = (): number[] =>
        readFileSync(join(cgroup, 'cgroup.procs'), 'latin1')
          .split('\n')
          .filter(Boolean)
          .map(Number)
          .filter(runs);
      while (alive().join() !== `${neighbour.child.pid}`)
        await new Promise((resolve) => setTimeout(resolve, 10));
      assert.equal(readFileSync(join(cgroup, 'cgroup.freeze'), 'latin1'), '0\n');
    });
  });

  it('kills tasks that an engine has made outside of its cgroup, before the rest is verified', async function () {
    needsAudit(this);
    const script = 'sleep 60 & inside=$!; sleep 60 & echo "$inside $!" ready; wait';
    const [{ child }, ...others] = [
      await start({ session: true }, 'sh', '-c', script),
      ...(await bystanders()).map((other) => ({ child: other })),
    ];
    const pids = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'latin1')
      .trim()
      .split(' ')
      .map(Number);
    assert.equal(pids.length, 2);
    const [inside, outside] = pids as [number, number];
    assert.match(
      (await endTracedElsewhere(child.pid!, [child.pid!, inside])) ?? '',
      /moved out of its scope/,
    );
    assert.deepEqual(told.ended, [outside]);
    while (existsSync(`/proc/${outside}`)) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(await endTracedElsewhere(child.pid!, [child.pid!, inside]), undefined);
    assert.deepEqual(
      [...others.map((other) => other.child), child].filter((each) => !isThere(each)),
      [],
    );
    process.kill(inside, 'SIGKILL');
  });

  it('fails without an engine', async () => {
    await assert.rejects(endTracedElsewhere(2 ** 22, []), /ENOENT/);
  });
});
