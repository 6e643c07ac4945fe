/** Searches of /proc: in a tree of files that imitates it, and in the kernel's own. */
import { strict as assert } from 'node:assert';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chownSync, constants, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants as os, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { native, type ProcessesQuestion } from '../../src/native/binding.ts';
import { cannotShow, collect, countFds, noMoreFdsThan, requireArgumentError } from './support.ts';

const CHECKPOINT_RESTORE = 40;
const bit = (1n << 40n).toString(16).padStart(16, '0');
const none = '0'.repeat(16);
const ours = '         0          0 4294967295\n';

/** The status of a thread. */
const status = (tid: number, more: Readonly<Record<string, string>> = {}): string =>
  Object.entries({
    Name: 'a name',
    State: 'S (sleeping)',
    Pid: String(tid),
    TracerPid: '0',
    Uid: '1500\t1500\t1500\t1500',
    Gid: '1600\t1600\t1600\t1600',
    Threads: '1',
    CapInh: none,
    CapPrm: none,
    CapEff: none,
    CapAmb: none,
    ...more,
  })
    .map(([name, value]) => `${name}:\t${value}\n`)
    .join('');

/** A directory that imitates /proc, in which only the test changes anything. */
class FakeProc {
  readonly root = mkdtempSync(join(tmpdir(), 'criu-holders-'));

  constructor() {
    this.write('stat', 'cpu 1 2 3\nprocesses 7\n');
    this.write('self/uid_map', ours);
  }

  write(path: string, text: string): void {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    writeFileSync(join(this.root, path), text);
  }

  /** A directory in the file's place, which cannot be read as a file. */
  spoil(path: string): void {
    rmSync(join(this.root, path), { recursive: true, force: true });
    mkdirSync(join(this.root, path), { recursive: true });
  }

  remove(path = ''): void {
    execFileSync('rm', ['-r', join(this.root, path)]);
  }

  /**
   * @param threads by their tids; the first tid is the leader's, and so the pid. The values override lines of the usual status.
   */
  process(
    threads: Readonly<Record<number, Readonly<Record<string, string>>>>,
    { uid = 1500, session = 5, start = 100, map = ours, cgroup = '/there' } = {},
  ): void {
    const [pid] = Object.keys(threads).map(Number) as [number];
    const count = { Threads: String(Object.keys(threads).length) };
    this.write(`${pid}/sessionid`, String(session));
    this.write(`${pid}/stat`, `${pid} (a) b) S ${'1 '.repeat(18)}${start} 0`);
    this.write(`${pid}/cgroup`, `1:cpu:/else\n0::${cgroup}\n`);
    this.write(`${pid}/uid_map`, map);
    this.write(`${pid}/status`, status(pid, { ...count, ...threads[pid] }));
    for (const [tid, more] of Object.entries(threads))
      this.write(`${pid}/task/${tid}/status`, status(Number(tid), { ...count, ...more }));
    chownSync(join(this.root, String(pid)), uid, uid);
  }

  async look(question: ProcessesQuestion) {
    const directory = native.open(this.root, constants.O_RDONLY | constants.O_DIRECTORY);
    const answering = native.lookForProcesses(directory, question);
    // The answer is complete without it.
    directory.close();
    const { found, ...rest } = await answering;
    return { lines: found.split('\n').slice(0, -1).sort(), ...rest };
  }
}

const holding = { holding: CHECKPOINT_RESTORE };
const holds = { CapPrm: bit };

describe('a search for processes', () => {
  let proc: FakeProc;
  beforeEach(() => {
    proc = new FakeProc();
  });
  afterEach(() => proc.remove());

  const linesOf = async (question: ProcessesQuestion): Promise<string[]> => (await proc.look(question)).lines;
  const pidsOf = async (question: ProcessesQuestion): Promise<number[]> =>
    (await linesOf(question)).map((line) => Number(line.split(' ')[0])).sort((a, b) => a - b);

  it('finds each holder of a capability, and describes it', async () => {
    proc.process({ 10: {} });
    proc.process(
      { 11: { CapInh: '0b', CapPrm: bit, CapEff: '0c', CapAmb: '0d' } },
      { cgroup: '/a\tb/c d', start: 77 },
    );
    assert.deepEqual(await proc.look({ whose: [{ uid: 1500 }], ...holding }), {
      lines: [`11 1500 77 5 found 11 S 0 1500 1500 1500 1500 1600 1600 1600 1600 0b ${bit} 0c 0d\t/a\tb/c d`],
      quiet: true,
      cut: false,
    });
  });

  it('counts the permitted and the ambient set', async () => {
    proc.process({ 10: { CapPrm: bit } });
    proc.process({ 11: { CapAmb: bit } });
    proc.process({ 12: { CapInh: bit, CapEff: bit } });
    assert.deepEqual(await pidsOf({ whose: [{ uid: 1500 }], ...holding }), [10, 11]);
  });

  it('leaves out other users, other sessions and older processes', async () => {
    proc.process({ 10: holds }, { uid: 1501 });
    proc.process({ 11: holds }, { session: 6 });
    proc.process({ 12: holds }, { start: 99 });
    proc.process({ 13: holds });
    assert.deepEqual(await pidsOf({ whose: [{ uid: 1500, session: 5, since: 100 }], ...holding }), [13]);
    assert.deepEqual(await pidsOf({ whose: [{ uid: 1500, session: 5 }], ...holding }), [12, 13]);
    const two = [
      { uid: 1500, session: 6 },
      { uid: 1501, since: 100 },
    ];
    assert.deepEqual(await pidsOf({ whose: two, ...holding }), [10, 11]);
  });

  it('searches all users except root if no user is named', async () => {
    proc.process({ 10: holds }, { uid: 0 });
    proc.process({ 11: holds }, { uid: 1501, session: 4294967295 });
    assert.deepEqual(await pidsOf(holding), [11]);
  });

  it('leaves out a capability in another user namespace', async () => {
    proc.process({ 10: holds }, { map: '         0       1500          1\n' });
    proc.process({ 11: holds }, { map: '' });
    proc.process({ 12: holds });
    assert.deepEqual(await pidsOf(holding), [12]);
  });

  it('leaves out exited threads, but not the other threads of their process', async () => {
    const zombie = { State: 'Z (zombie)', ...holds };
    proc.process({ 10: zombie });
    proc.process({ 11: zombie, 111: {} });
    proc.process({ 12: zombie, 112: holds });
    assert.deepEqual(await pidsOf(holding), [12]);
  });

  it('reads every thread, up to the first that holds the capability', async () => {
    proc.process({ 10: {}, 101: {}, 102: holds });
    proc.process({ 11: holds, 111: {} });
    proc.spoil('11/task/111/status');
    const lines = await linesOf(holding);
    assert.match(lines[0]!, /^10 1500 100 5 found 102 S/);
    assert.match(lines[1]!, /^11 1500 100 5 found 11 S/);
  });

  it('finds the processes that a tracer traces, and all of a session if nothing else is asked', async () => {
    proc.process({ 10: {} });
    proc.process({ 11: {}, 111: { TracerPid: '77', State: 't (tracing stop)' } });
    proc.process({ 12: { State: 'X (dead)' } });
    assert.match((await linesOf({ tracedBy: 77 }))[0]!, /^11 1500 100 5 found 111 t 77 /);
    assert.equal((await linesOf({ tracedBy: 77 })).length, 1);
    assert.deepEqual(await pidsOf({ whose: [{ uid: 1500, session: 5 }] }), [10, 11]);
  });

  it('searches only the named pids, and not the excepted pids', async () => {
    for (const pid of [10, 11, 12]) proc.process({ [pid]: holds });
    assert.deepEqual(await pidsOf({ pids: [10, 12, 99], ...holding }), [10, 12]);
    assert.deepEqual(await pidsOf({ except: [10], ...holding }), [11, 12]);
  });

  it('reports an unreadable process, instead of treating it as exited', async () => {
    for (const [pid, file] of [
      [10, 'status'],
      [11, 'stat'],
      [12, 'sessionid'],
    ] as const) {
      proc.process({ [pid]: holds });
      proc.spoil(`${pid}/${file}`);
    }
    proc.process({ 13: {}, 131: {} });
    proc.spoil('13/task/131/status');
    proc.process({ 14: {}, 141: {} });
    proc.remove('14/task');
    proc.write('14/task', '');
    const { EISDIR, ENOTDIR } = os.errno;
    assert.deepEqual(
      (await linesOf(holding)).map((line) => line.split('\t')[0]),
      [
        `10 1500 100 5 ${EISDIR}`,
        `11 1500 - 5 ${EISDIR}`,
        `12 1500 - - ${EISDIR}`,
        `13 1500 100 5 ${EISDIR}`,
        `14 1500 100 5 ${ENOTDIR}`,
      ],
    );
  });

  it('reports a process as unsettled if part of it exits meanwhile', async () => {
    proc.process({ 10: {} });
    proc.remove('10/status');
    proc.process({ 11: {}, 111: {} });
    proc.remove('11/task/111/status');
    // An exit is not reported before the process is known to match.
    proc.process({ 12: {} });
    proc.remove('12/stat');
    assert.deepEqual(
      (await linesOf(holding)).map((line) => line.split('\t')[0]),
      ['10 1500 100 5 unsettled', '11 1500 100 5 unsettled'],
    );
  });

  it('reports a process without an audit session, and without a unified hierarchy', async () => {
    proc.process({ 10: holds });
    proc.remove('10/sessionid');
    proc.write('10/cgroup', '1:cpu:/else\n');
    assert.match((await linesOf(holding))[0]!, /^10 1500 100 - found 10 S .*\t$/);
    assert.deepEqual(await pidsOf({ whose: [{ uid: 1500, session: 5 }], ...holding }), []);
  });

  it('prevents a process from imitating another by its name', async () => {
    proc.process({ 10: { Name: `a\rCapPrm:\t${bit}`, Threads: '1' } });
    proc.write('10/stat', `10 (a) S 1 ${'9 '.repeat(30)}) S ${'1 '.repeat(18)}100 0`);
    assert.deepEqual(await pidsOf(holding), []);
    assert.match((await linesOf({}))[0]!, /^10 1500 100 5 found/);
  });

  it('reports a limited number at once, and tells that there are more', async () => {
    // The fewest files that make a process reported: it is unreadable.
    for (let pid = 10; pid < 4110; pid += 1) proc.spoil(`${pid}/sessionid`);
    execFileSync('chown', ['--recursive', '1500', proc.root]);
    const { lines, cut } = await proc.look(holding);
    assert.equal(lines.length, 4096);
    assert.ok(cut);
  });

  it('is not quiet if births cannot be counted', async () => {
    assert.ok((await proc.look(holding)).quiet);
    proc.write('stat', 'cpu 1 2 3\n');
    assert.ok(!(await proc.look(holding)).quiet);
  });

  it('fails if nothing can be read, and leaves no descriptor', async () => {
    proc.process({ 10: {}, 101: {} });
    await proc.look(holding);
    await collect();
    const before = countFds();
    for (let round = 0; round < 20; round += 1) await proc.look(holding);
    proc.remove('self');
    await assert.rejects(proc.look(holding), { code: 'ENOENT' });
    await collect();
    await noMoreFdsThan(before);
  });

  it('refuses a meaningless question', () => {
    const directory = native.open(proc.root, constants.O_RDONLY | constants.O_DIRECTORY);
    const ask = (question: unknown) => () =>
      native.lookForProcesses(directory, question as ProcessesQuestion);
    requireArgumentError(ask({ whose: [] }), 'whose');
    requireArgumentError(ask({ whose: [{}] }), 'whose[0].uid');
    requireArgumentError(ask({ whose: [{ uid: 1, since: -1 }] }), 'whose[0].since');
    requireArgumentError(ask({ holding: 64 }), 'holding');
    requireArgumentError(ask({ tracedBy: 0 }), 'tracedBy');
    requireArgumentError(ask({ pids: [0] }), 'pids[0]');
    directory.close();
  });
});

describe('a search of the kernel’s /proc', () => {
  /** A number that no account has, different in each run. */
  const uid = 800_000 + (process.pid % 100_000);
  const here = fileURLToPath(new URL('.', import.meta.url));
  const directory = mkdtempSync(join(tmpdir(), 'criu-holders-'));
  const program = join(directory, 'holder');
  const children: ChildProcess[] = [];

  before(() => {
    execFileSync('chmod', ['755', directory]);
    const flags = ['-O1', '-Wall', '-Wextra', '-Werror', '-static', '-pthread'];
    execFileSync('gcc', [...flags, '-o', program, join(here, 'fixtures', 'holder.c')], { stdio: 'inherit' });
  });
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
  });
  after(() => rmSync(directory, { recursive: true }));

  /**
   * Starts a program of that user's, with the capability if it is `capable`.
   * @returns when it is ready.
   */
  async function start(capable: boolean, ...command: string[]): Promise<number> {
    const sets = capable
      ? ['--inh-caps=-all,+checkpoint_restore', '--ambient-caps=+checkpoint_restore']
      : ['--inh-caps=-all'];
    const setpriv = [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', ...sets, '--'];
    const child = spawn('setpriv', [...setpriv, ...command], { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    await new Promise((resolve, reject) => {
      child.stdout.once('data', resolve);
      child.once('exit', () => reject(new Error('it has ended')));
    });
    return child.pid!;
  }

  async function look(question: ProcessesQuestion): Promise<string[][]> {
    const proc = native.open('/proc', constants.O_RDONLY | constants.O_DIRECTORY);
    const { found } = await native.lookForProcesses(proc, question);
    proc.close();
    return found
      .split('\n')
      .slice(0, -1)
      .map((line) => line.split('\t')[0]!.split(' '));
  }

  const hers = { whose: [{ uid }], ...holding };

  it('finds each holder of a capability, in any of its threads, but not in another user namespace', async () => {
    const plain = await start(true, program, 'sleep');
    await start(true, program, 'second-thread');
    await start(false, program, 'sleep');
    await start(false, 'unshare', '--user', '--map-root-user', program, 'sleep');
    // It says that it is ready before it sleeps.
    while (!/^State:\tS/m.test(readFileSync(`/proc/${plain}/status`, 'latin1'))) await sleep(1);
    const found = await look(hers);
    assert.equal(found.length, 2);
    const [first] = found.filter(([pid]) => Number(pid) === plain);
    const stat = readFileSync(`/proc/${plain}/stat`, 'latin1');
    assert.equal(first![2], stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
    assert.deepEqual(first!.slice(4, 7), ['found', String(plain), 'S']);
    const [other] = found.filter(([pid]) => Number(pid) !== plain);
    assert.notEqual(other![5], other![0], 'it is not the leader');
  });

  it('finds a thread that outlives its leader', async () => {
    const pid = await start(true, program, 'orphan-thread');
    const [[found, , , , how, tid]] = (await look(hers)) as [string[]];
    assert.deepEqual([Number(found), how], [pid, 'found']);
    assert.notEqual(Number(tid), pid);
  });

  it('never reports changing threads as settled, and finds the thread that stays', async () => {
    const churning = await start(false, program, 'churn', '200');
    for (let round = 0; round < 5; round += 1) {
      assert.deepEqual(await look(hers).then((lines) => lines.map((line) => line[4])), ['unsettled']);
    }
    // A process without changes is settled.
    process.kill(churning, 'SIGSTOP');
    for (let tries = 0; (await look(hers)).length > 0; tries += 1) assert.ok(tries < 100_000);
    const holder = await start(true, program, 'churn', '200');
    const seen = new Set<string>();
    for (let round = 0; round < 1000 && !seen.has('found'); round += 1)
      for (const [pid, , , , how] of await look(hers)) if (Number(pid) === holder) seen.add(how!);
    assert.ok(seen.has('found'), [...seen].join());
  });

  it('finds the processes of an audit session, which an unprivileged process cannot leave', async function () {
    const login = join(directory, 'login');
    writeFileSync(
      login,
      `#!/bin/sh
echo ${uid} >/proc/self/loginuid || exit 1
cat /proc/self/sessionid >${directory}/session
exec "$@"
`,
      { mode: 0o755 },
    );
    try {
      execFileSync(login, ['true'], { stdio: 'pipe' });
    } catch {
      cannotShow(this, 'no process can be given a login uid here');
    }
    const setpriv = ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--'];
    const leave = '(echo 7 >/proc/self/loginuid) 2>/dev/null; setsid sleep 60 & echo $!; wait';
    const child = spawn(login, [...setpriv, 'sh', '-c', leave], { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    const grandchild = await new Promise<number>((resolve) =>
      child.stdout.once('data', (said) => resolve(Number(said))),
    );
    const session = Number(readFileSync(join(directory, 'session'), 'utf8'));
    const pids = async (of: number) =>
      (await look({ whose: [{ uid, session: of }] })).map(([pid]) => Number(pid));
    assert.deepEqual((await pids(session)).includes(grandchild), true);
    assert.deepEqual((await pids(session)).includes(child.pid!), true);
    assert.deepEqual(await pids(session + 1000), []);
    process.kill(grandchild, 'SIGKILL');
  });
});
