/**
 * Tests the launcher against the kernel: the engine has exactly the traits of its caller's ordinary child, plus
 * CAP_CHECKPOINT_RESTORE. A real child is the oracle: each test makes it and compares.
 */
import { strict as assert } from 'node:assert';
import { execFileSync, type SpawnOptionsWithoutStdio, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  copyFileSync,
  existsSync,
  constants as fs,
  mkdirSync,
  openSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { keptKerndat } from '../../src/engine/kerndat.ts';
import {
  encodeParameters,
  FileFault,
  type LaunchParameters,
  maxLauncherGroups,
} from '../../src/engine/launcher-protocol.ts';
import { native } from '../../src/native/binding.ts';
import { maxInherited } from '../../src/policy/inherited.ts';
import {
  type Launch,
  launch,
  launchAs,
  packetsOf,
  type Report,
  requireFailure,
  TestCaller,
  Workshop,
} from './launcher/support.ts';
import { cannotShow } from './support.ts';

const { EACCES, EAGAIN, EINVAL, EMSGSIZE, ENOENT, ENOTDIR, EPERM, ESRCH } = constants.errno;
const checkpointRestore = 1n << 40n;
const capNetRaw = 1n << 13n;
const capNetBind = 1n << 10n;
const capSetuid = 1n << 7n;
const capSysResource = 1n << 24n;
const limitNproc = 6;
const limitNofile = 7;

/** Numbers that no account has, different in each run, because limits of processes are counted for a uid. */
const uid = 600_000 + (process.pid % 100_000);
const alice = [`uid=${uid}`, `gid=${uid + 1}`, `groups=${uid + 2},${uid + 1},4242424242,7`];

/** The most unusual caller that this machine can make. Its limits are below root's own, and above a child's needs. */
const unusual = [
  ...alice,
  'umask=027',
  'nice=5',
  'policy=3:0', // SCHED_BATCH
  `ioprio=${(3 << 13) | 0}`, // idle
  'cpu=0',
  'oom=300',
  'coredump=0x1f',
  'ignore=13',
  'ignore=25',
  'keyring=callers',
  'limit=0:100:200',
  'limit=1:1000000000:2000000000',
  'limit=2:500000000:900000000',
  'limit=3:1048576:4194304',
  'limit=4:0:4096',
  'limit=5:1000000000:1000000001',
  'limit=6:40:50',
  'limit=7:12:24',
  'limit=8:65536:65537',
  'limit=9:1000000000:1000000001',
  'limit=10:30:40',
  'limit=11:20:21',
  'limit=12:1000:2000',
  'limit=13:0:0',
  'limit=14:0:0',
  'limit=15:1000000:2000000',
  // A bounding set without some capabilities, among them the service's own and CHECKPOINT_RESTORE.
  `bounding=${(0xffffn & ~(1n << 3n)).toString(16)}`,
  `inheritable=${(capNetRaw | capNetBind | (1n << 30n)).toString(16)}`,
  `ambient=${capNetRaw.toString(16)}`,
];

/** The differences between an engine and an ordinary child; a test asserts each. */
const different =
  /^(argument|environment|fd|directory|writable|write)\b|^(CapInh|CapPrm|CapEff|CapAmb|SigIgn|keyring.*|loginuid|sessionid|pid|peer|socket\.flags)$/;

/** A login uid and its audit session. */
const unset = '4294967295';

const shadowed = (text: string | undefined): bigint => BigInt(`0x${text ?? 'none'}`);

const workshop = new Workshop();
const callers: TestCaller[] = [];

async function callerWith(...traits: string[]): Promise<TestCaller> {
  const caller = await TestCaller.start(workshop, traits);
  callers.push(caller);
  return caller;
}

function requireReady(result: Launch): void {
  assert.equal(
    result.answers.length,
    1,
    JSON.stringify(result.answers, (_key, value) => (typeof value === 'bigint' ? String(value) : value)),
  );
  assert.equal(result.answers[0]!.kind, 'ready');
  assert.deepEqual(result.exit, { kind: 'exited', code: 0 });
}

function boundingLacks(capability: bigint): boolean {
  const bounding = shadowed(/^CapBnd:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))![1]);
  return (bounding & capability) === 0n;
}

after(() => workshop.remove());
afterEach(async () => {
  for (const caller of callers.splice(0)) {
    await caller.end();
    caller.close();
  }
});

for (const [build, compile] of [
  ['the launcher', () => workshop.plainLauncher()],
  ['the launcher under AddressSanitizer and UndefinedBehaviorSanitizer', () => workshop.sanitizedLauncher()],
] as const) {
  describe(build, () => {
    let launcher: string;
    before(() => {
      launcher = compile();
    });

    const run = (
      caller: TestCaller,
      changes: Partial<LaunchParameters> = {},
      options: Parameters<typeof launchAs>[4] = {},
    ): Promise<Launch> => launchAs(workshop, launcher, caller, changes, options);

    async function requireLikeChild(caller: TestCaller): Promise<Launch> {
      const child = await caller.ordinaryChild();
      assert.ok(child.size > 50, 'there is no ordinary child to compare with');
      const result = await run(caller);
      requireReady(result);
      const traits = [...child].filter(([name]) => !different.test(name));
      for (const [name, value] of traits) assert.equal(result.report.get(name), value, name);
      for (const name of ['CapPrm', 'CapEff', 'CapAmb', 'CapInh']) {
        assert.equal(
          shadowed(result.report.get(name)),
          shadowed(child.get(name)) | checkpointRestore,
          `${name}: the child's and CAP_CHECKPOINT_RESTORE, nothing else`,
        );
      }
      const login = child.get('loginuid');
      const [who] = result.report.get('Uid')!.split('\t');
      assert.equal(result.report.get('loginuid'), login === unset ? who : login);
      return result;
    }

    describe('the engine', () => {
      it('gets the traits of an unusual caller’s ordinary child, and CAP_CHECKPOINT_RESTORE', async () => {
        const caller = await callerWith(...unusual);
        const { report } = await requireLikeChild(caller);
        // Make sure that the oracle is as unusual as intended.
        assert.equal(report.get('Uid'), `${uid}\t${uid}\t${uid}\t${uid}`);
        assert.equal(report.get('Gid'), `${uid + 1}\t${uid + 1}\t${uid + 1}\t${uid + 1}`);
        assert.equal(report.get('Groups')!.trim(), `7 ${uid + 1} ${uid + 2} 4242424242`);
        assert.equal(report.get('nice'), '5');
        assert.equal(report.get('scheduler'), 'policy 3 flags 0 nice 5 priority 0');
        assert.equal(report.get('ioprio'), String(3 << 13));
        assert.equal(report.get('Cpus_allowed_list'), '0');
        assert.equal(report.get('oom_score_adj'), '300');
        assert.equal(report.get('coredump_filter'), '0000001f');
        assert.equal(report.get('Umask'), '0027');
        assert.equal(report.get('limit.7'), '12:24');
        assert.equal(report.get('limit.3'), '1048576:4194304');
        assert.equal(report.get('CapBnd'), '000000000000fff7');
        assert.equal(report.get('NoNewPrivs'), '0');
        assert.equal(report.get('secure'), '0');
        assert.equal(report.get('dumpable'), '1');
      });

      it('gets the traits of a plain user’s ordinary child', async () => {
        const caller = await callerWith(`uid=${uid}`, `gid=${uid}`);
        const { report } = await requireLikeChild(caller);
        assert.equal(report.get('Groups'), '');
        assert.equal(shadowed(report.get('CapPrm')), checkpointRestore);
      });

      it('keeps no_new_privs, and its capability with it', async () => {
        const caller = await callerWith(...alice, 'no-new-privs=1');
        const { report } = await requireLikeChild(caller);
        assert.equal(report.get('NoNewPrivs'), '1');
        assert.equal(shadowed(report.get('CapEff')), checkpointRestore);
      });

      it('gets no further privilege if the caller is in group 0', async () => {
        await requireLikeChild(await callerWith(`uid=${uid}`, 'gid=0', 'groups=0'));
      });

      it('keeps an ambient CAP_SETUID, which a child of the caller would hold', async () => {
        const set = capSetuid.toString(16);
        const caller = await callerWith(...alice, `inheritable=${set}`, `ambient=${set}`);
        const { report } = await requireLikeChild(caller);
        assert.equal(report.get('attempt.setresuid'), '0');
      });

      it('gets the effect of SCHED_RESET_ON_FORK as after fork(2), real-time and nice', async () => {
        const resetOnFork = 0x40000000;
        for (const traits of [
          [`policy=${1 | resetOnFork}:7`],
          ['nice=-7', `policy=${0 | resetOnFork}:0`],
          ['nice=7', `policy=${3 | resetOnFork}:0`],
        ]) {
          await requireLikeChild(await callerWith(...alice, ...traits));
        }
      });

      it('is real-time, idle or favoured, as a child of the caller would be', async () => {
        for (const traits of [
          ['policy=1:3'],
          ['policy=2:9'],
          ['nice=4', 'policy=5:0'],
          ['nice=-4'],
          [`ioprio=${(1 << 13) | 3}`],
          [`ioprio=${(2 << 13) | 6}`],
        ]) {
          await requireLikeChild(await callerWith(...alice, ...traits));
        }
      });

      it('has the audit login uid of the caller', async function () {
        if (!existsSync('/proc/self/loginuid')) cannotShow(this, 'this kernel has no audit (CONFIG_AUDIT)');
        const caller = await callerWith(...alice, `loginuid=${uid + 3}`);
        const { report } = await requireLikeChild(caller);
        assert.equal(report.get('loginuid'), String(uid + 3));
      });

      it('has an audit session of its own, whether or not its caller has a session', async function () {
        if (!existsSync('/proc/self/sessionid')) cannotShow(this, 'this kernel has no audit (CONFIG_AUDIT)');
        const seen = new Set([unset, readFileSync('/proc/self/sessionid', 'latin1')]);
        for (const traits of [alice, [...alice, `loginuid=${uid}`]]) {
          const caller = await callerWith(...traits);
          const child = await caller.ordinaryChild();
          seen.add(child.get('sessionid')!);
          for (let round = 0; round < 2; round += 1) {
            const { report } = await requireLikeChild(caller);
            const session = report.get('sessionid')!;
            assert.ok(!seen.has(session), `${session} is one of ${[...seen].join()}`);
            seen.add(session);
          }
        }
      });

      it('holds its connection, of which both ends are the engine itself, null, stderr, the copy of the control socket, and no other descriptor', async () => {
        const caller = await callerWith(...unusual);
        const { pid, report, socketCount } = await run(caller);
        assert.equal(socketCount, 1);
        const fds = [...report].filter(([name]) => name.startsWith('fd.')).sort();
        assert.deepEqual(
          fds.map(([name]) => name),
          ['fd.0', 'fd.1', 'fd.2', 'fd.3', 'fd.4'],
        );
        requireControl(report, 4);
        assert.equal(report.get('fd.0'), '/dev/null');
        assert.equal(report.get('fd.1'), '/dev/null');
        assert.match(report.get('fd.2')!, /^\/memfd:/);
        assert.match(report.get('fd.3')!, /^socket:/);
        assert.equal(report.get('pid'), String(pid));
        assert.equal(report.get('peer'), `${pid} ${uid} ${uid + 1}`);
        assert.equal(report.get('socket.flags'), '0', 'CRIU reads with a blocking recv(2)');
      });

      it('gets six environment variables and `criu swrk 3`, independent of the caller’s environment', async () => {
        const { report } = await run(await callerWith(...unusual));
        const given = [...report].filter(([name]) => /^(argument|environment)/.test(name));
        assert.deepEqual(given, [
          ['argument.0', 'criu'],
          ['argument.1', 'swrk'],
          ['argument.2', '3'],
          ['environment.0', 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
          ['environment.1', `CRIU_CONFIG_FILE=${workshop.config}`],
          ['environment.2', `XDG_RUNTIME_DIR=${dirname(keptKerndat)}`],
          ['environment.3', `LD_PRELOAD=${workshop.preload}`],
          ['environment.4', 'CRIU_SERVICE_CAPABILITY=asleep'],
          ['environment.5', 'CRIU_SERVICE_READY=4'],
        ]);
        assert.equal(report.get('directory'), '/');
      });

      it('learns that its capability is not needed, or that children of the caller hold it anyway', async () => {
        const told = async (caller: TestCaller, noCapability: boolean): Promise<string | undefined> =>
          (await run(caller, { noCapability })).report.get('environment.4');
        assert.equal(await told(await callerWith(...alice), true), 'CRIU_SERVICE_CAPABILITY=none');
        const set = checkpointRestore.toString(16);
        const capable = await callerWith(...alice, `inheritable=${set}`, `ambient=${set}`);
        for (const noCapability of [false, true])
          assert.equal(await told(capable, noCapability), 'CRIU_SERVICE_CAPABILITY=callers');
        const inheritableOnly = await callerWith(...alice, `inheritable=${set}`);
        assert.equal(await told(inheritableOnly, false), 'CRIU_SERVICE_CAPABILITY=asleep');
      });

      it('has default signals and an empty mask, even if the caller ignores two signals', async () => {
        const caller = await callerWith(...unusual);
        assert.equal(shadowed((await caller.ordinaryChild()).get('SigIgn')), (1n << 12n) | (1n << 24n));
        const { report } = await run(caller);
        assert.equal(shadowed(report.get('SigIgn')), 0n);
        assert.equal(shadowed(report.get('SigBlk')), 0n);
      });

      it('has a session keyring of its own, empty, and owned by the caller', async () => {
        const caller = await callerWith(...unusual);
        const child = await caller.ordinaryChild();
        assert.match(child.get('keyring.description')!, /;callers$/);
        const { report } = await run(caller);
        assert.match(
          report.get('keyring.description')!,
          new RegExp(`^keyring;${uid};${uid + 1};[0-9a-f]+;_ses$`),
        );
        assert.notEqual(report.get('keyring'), child.get('keyring'));
        assert.equal(report.get('keyring.bytes'), '0');
      });

      it('cannot become root or another group, and cannot read root’s files', async () => {
        const { report } = await run(await callerWith(...unusual));
        assert.equal(report.get('attempt.setresuid'), String(EPERM));
        assert.equal(report.get('attempt.setresgid'), String(EPERM));
        assert.equal(report.get('attempt.shadow'), String(EACCES));
      });

      it('keeps every group of a caller with 32,768 groups', async () => {
        const groups = Array.from({ length: maxLauncherGroups }, (_value, index) => 100_000 + index);
        const { report } = await run(await callerWith(...alice), { groups });
        assert.deepEqual(report.get('Groups')!.trim().split(' ').map(Number), groups);
      });

      it('gets a caller’s hard limit that is above the service’s', async function () {
        if (boundingLacks(capSysResource))
          cannotShow(this, 'this machine lacks CAP_SYS_RESOURCE, so that no hard limit can be raised');
        await requireLikeChild(
          await callerWith(...alice, 'limit=10:18446744073709551615:18446744073709551615'),
        );
      });

      it('gets its caller’s LSM label, or the launcher refuses the label by its step', async function () {
        cannotShow(
          this,
          `no labelling security module is active here (${existsSync('/sys/kernel/security/lsm') ? readFileSync('/sys/kernel/security/lsm', 'latin1') : 'no /sys/kernel/security/lsm'})`,
        );
      });
    });

    describe('descriptors of the caller', () => {
      let root: string;
      let own: string;
      before(() => {
        root = workshop.path(`root-only-${basename(launcher)}`);
        own = workshop.path(`own-${basename(launcher)}`);
        mkdirSync(root, { mode: 0o700 });
        mkdirSync(own, { mode: 0o700 });
        chownSync(own, uid, uid + 1);
      });

      it('are opened anew as the caller, and numbered from 4', async () => {
        const caller = await callerWith(...alice);
        const images = Number(await caller.ask(`open ${own}`));
        const work = Number(await caller.ask(`open-path ${own}`));
        const file = join(own, 'status');
        writeFileSync(file, '');
        chownSync(file, uid, uid);
        const status = Number(await caller.ask(`open ${file}`));
        const result = await run(caller, { imagesDirFd: images, workDirFd: work, statusFd: status });
        requireReady(result);
        assert.deepEqual(result.answers[0], {
          kind: 'ready',
          files: { images_dir_fd: 4, work_dir_fd: 5, status_fd: 6 },
        });
        const { report } = result;
        assert.deepEqual(
          [4, 5, 6].map((fd) => report.get(`fd.${fd}`)),
          [own, own, file],
        );
        assert.equal(report.get('directory.4'), '0');
        assert.equal(report.get('directory.5'), '0');
        assert.equal(report.get('writable.6'), '0');
        assert.equal(readFileSync(file, 'utf8'), '!');
        requireControl(report, 7);
      });

      it('are numbered without gaps if a file was not requested', async () => {
        const caller = await callerWith(...alice);
        const work = Number(await caller.ask(`open ${own}`));
        const result = await run(caller, { workDirFd: work });
        assert.deepEqual(result.answers[0], { kind: 'ready', files: { work_dir_fd: 4 } });
        assert.equal(result.report.get('fd.4'), own);
        requireControl(result.report, 5);
      });

      it('may be named by a path, from / if it is relative, through symlinks that the caller may follow', async () => {
        const link = `${own}-link`;
        symlinkSync(own, link);
        for (const imagesDir of [own, own.slice(1), link]) {
          const result = await run(await callerWith(...alice), { imagesDir });
          requireReady(result);
          assert.equal(result.report.get('fd.4'), own);
        }
      });

      it('are refused if the directory is root’s, by path, by descriptor and through O_PATH', async () => {
        const caller = await callerWith(...alice);
        assert.ok(Number(await caller.ask(`open ${root}`)) < 0, 'the caller itself cannot open it');
        requireFailure(await run(caller, { imagesDir: root }), { step: 'images', error: EACCES, value: -1n });
        const held = Number(await caller.ask(`open-path ${root}`));
        assert.ok(held > 2, 'the caller holds an O_PATH descriptor of it');
        requireFailure(await run(caller, { imagesDirFd: held }), {
          step: 'images',
          error: EACCES,
          value: BigInt(held),
        });
        requireFailure(await run(caller, { workDirFd: held }), {
          step: 'work',
          error: EACCES,
          value: BigInt(held),
        });
      });

      it('give no write access to root’s file: the engine cannot open a file held with O_PATH', async () => {
        const file = workshop.path(`root-file-${basename(launcher)}`);
        writeFileSync(file, 'root', { mode: 0o644 });
        const caller = await callerWith(...alice);
        const held = Number(await caller.ask(`open-path ${file}`));
        const result = await run(caller, { statusFd: held });
        requireReady(result);
        assert.equal(result.report.get('writable.4'), String(EACCES));
        assert.equal(readFileSync(file, 'utf8'), 'root');
      });

      it('do not block the launcher: only CRIU opens a FIFO without a reader', async () => {
        const fifo = join(own, 'fifo');
        execFileSync('mkfifo', ['-m', '666', fifo]);
        const caller = await callerWith(...alice);
        const held = Number(await caller.ask(`open-path ${fifo}`));
        requireReady(await run(caller, { statusFd: held }));
        requireFailure(await run(caller, { imagesDir: fifo }), { step: 'images', error: ENOTDIR });
      });

      it('are refused if the number does not exist, or is not a directory', async () => {
        const caller = await callerWith(...alice);
        requireFailure(await run(caller, { imagesDirFd: 999 }), {
          step: 'images',
          error: ENOENT,
          value: 999n,
        });
        requireFailure(await run(caller, { workDirFd: 998 }), { step: 'work', error: ENOENT, value: 998n });
        requireFailure(await run(caller, { statusFd: 2147483647 }), {
          step: 'status',
          error: ENOENT,
          value: 2147483647n,
        });
        requireFailure(await run(caller, { imagesDirFd: 0 }), { step: 'images', error: ENOTDIR, value: 0n });
      });

      it('are refused if the caller is not dumpable, because its descriptors are protected', async () => {
        const caller = await callerWith(...alice);
        const held = Number(await caller.ask(`open ${own}`));
        await caller.ask('undumpable');
        requireFailure(await run(caller, { imagesDirFd: held }), { step: 'images', error: EACCES });
      });
    });

    describe('a hand-over', () => {
      it('gives the engine the caller’s own connection, and answers without a descriptor', async () => {
        const caller = await callerWith(...alice);
        const { ours, theirs } = native.socketpair();
        const result = await run(caller, { handOver: true }, { connection: theirs });
        theirs.close();
        requireReady(result);
        assert.equal(result.socketCount, 0);
        let text = '';
        for await (const packet of packetsOf(ours, 1 << 16)) text += packet.data.toString();
        ours.close();
        assert.match(
          text,
          new RegExp(`^peer=${process.pid} 0 0$`, 'm'),
          'its peer is who made the connection',
        );
        assert.match(text, new RegExp(`^Uid=${uid}\t`, 'm'));
        assert.match(text, /^fd\.4=socket:/m, 'the connection, which is not where CRIU reads');
        assert.match(text, /^environment\.5=CRIU_SERVICE_READY=3$/m, 'the copy of the control socket');
        assert.doesNotMatch(text, /^fd\.[5-9]/m);
      });

      it('is refused without a connection, with a different descriptor in its place, and with files to open', async () => {
        const caller = await callerWith(...alice);
        requireFailure(await run(caller, { handOver: true }), { step: 'socket' });
        const null_ = native.open('/dev/null', fs.O_RDWR);
        requireFailure(await run(caller, { handOver: true }, { connection: null_ }), { step: 'socket' });
        null_.close();
        requireFailure(await run(caller, { handOver: true, statusFd: 0 }), {
          step: 'parameters',
          error: EINVAL,
        });
      });
    });

    describe('the checks of criu and its configuration', () => {
      const copy = (name: string): string => {
        const path = workshop.path(`${name}-${basename(launcher)}`);
        copyFileSync(workshop.path('report'), path);
        chmodSync(path, 0o755);
        return path;
      };

      it('refuse a criu that is missing, not a file, not root’s, or writable by others', async () => {
        const caller = await callerWith(...alice);
        const refused = async (criu: string, fault: number, error = 0): Promise<void> =>
          requireFailure(await run(caller, { criu }), { step: 'criu', error, value: BigInt(fault) });
        await refused(workshop.path('missing'), FileFault.cannotBeRead, ENOENT);
        await refused(workshop.directory, FileFault.notRegular);
        const foreign = copy('foreign');
        chownSync(foreign, uid, 0);
        await refused(foreign, FileFault.notRoots);
        for (const mode of [0o775, 0o757]) {
          const writable = copy(`writable-${mode}`);
          chmodSync(writable, mode);
          await refused(writable, FileFault.writableByOthers);
        }
      });

      it('refuse a criu with set-id bits or file capabilities', async () => {
        const caller = await callerWith(...alice);
        for (const mode of [0o4755, 0o2755]) {
          const criu = copy(`set-id-${mode}`);
          chmodSync(criu, mode);
          requireFailure(await run(caller, { criu }), {
            step: 'criu',
            error: 0,
            value: BigInt(FileFault.setId),
          });
        }
        const criu = copy('capable');
        try {
          execFileSync('setcap', ['cap_checkpoint_restore+ep', criu], { stdio: 'pipe' });
        } catch (error) {
          setCapabilityXattr(criu, error);
        }
        requireFailure(await run(caller, { criu }), {
          step: 'criu',
          error: 0,
          value: BigInt(FileFault.hasCapabilities),
        });
      });

      it('refuse a configuration that others than root may write, or that the caller cannot read', async () => {
        const caller = await callerWith(...alice);
        const config = workshop.path(`config-${basename(launcher)}`);
        writeFileSync(config, 'unprivileged\n', { mode: 0o644 });
        requireReady(await run(caller, { config }));
        chmodSync(config, 0o646);
        requireFailure(await run(caller, { config }), {
          step: 'config',
          error: 0,
          value: BigInt(FileFault.writableByOthers),
        });
        chmodSync(config, 0o600);
        requireFailure(await run(caller, { config }), { step: 'config', error: EACCES });
        requireFailure(await run(caller, { config: `${config}.missing` }), { step: 'config', error: ENOENT });
      });

      it('refuse a library that is missing, not root’s, writable by others, or unreadable for the caller', async () => {
        const caller = await callerWith(...alice);
        const preload = workshop.path(`preload-${basename(launcher)}`);
        const refused = async (fault: number, error = 0): Promise<void> =>
          requireFailure(await run(caller, { preload }), { step: 'preload', error, value: BigInt(fault) });
        await refused(FileFault.cannotBeRead, ENOENT);
        writeFileSync(preload, '', { mode: 0o644 });
        requireReady(await run(caller, { preload }));
        for (const mode of [0o664, 0o646]) {
          chmodSync(preload, mode);
          await refused(FileFault.writableByOthers);
        }
        chmodSync(preload, 0o600);
        await refused(FileFault.cannotBeRead, EACCES);
        chmodSync(preload, 0o644);
        chownSync(preload, uid, 0);
        await refused(FileFault.notRoots);
      });

      it('are followed by a second answer if criu cannot be executed', async () => {
        const caller = await callerWith(...alice);
        const noProgram = copy('no-program');
        writeFileSync(noProgram, 'not a program');
        const notForAlice = copy('not-executable');
        chmodSync(notForAlice, 0o744);
        for (const [criu, error] of [
          [noProgram, constants.errno.ENOEXEC],
          [notForAlice, EACCES],
        ] as const) {
          const result = await run(caller, { criu });
          assert.deepEqual(result.answers, [
            { kind: 'ready', files: {} },
            { kind: 'failed', step: 'execute', error, value: 0n },
          ]);
          assert.equal(result.report.size, 0);
          assert.deepEqual(result.exit, { kind: 'exited', code: 1 });
        }
      });
    });

    describe('a caller', () => {
      it('that has exited gets no engine', async () => {
        const caller = await callerWith(...alice);
        const packet = encodeParameters(caller.parameters(workshop));
        await caller.end();
        requireFailure(await launch({ launcher, caller, packet }), { step: 'caller-gone', error: ESRCH });
        callers.splice(callers.indexOf(caller), 1);
        caller.close();
      });

      it('that has executed a set-user-ID program since is not read', async () => {
        const caller = await callerWith(...alice);
        const packet = encodeParameters(caller.parameters(workshop));
        const su = workshop.path(`su-${basename(launcher)}`);
        copyFileSync(workshop.path('caller'), su);
        chmodSync(su, 0o4755);
        await caller.ask(`become ${su}`);
        await caller.ask('');
        requireFailure(await launch({ launcher, caller, packet }), { step: 'read-limit', error: EPERM });
      });

      it('at its process limit gets no engine, exactly if fork(2) fails', async () => {
        for (const [limit, fits] of [
          [3, true],
          [2, false],
          [1, false],
        ] as const) {
          const many = [`uid=${uid + 50_000 + limit}`, `gid=${uid}`];
          const first = await callerWith(...many);
          // Two processes of the uid: this process, and the caller with the limit.
          const caller = await callerWith(...many, `limit=${limitNproc}:${limit}:${limit}`);
          const fork = await caller.ask('child');
          assert.equal(
            fork === `fork=${EAGAIN}`,
            !fits,
            `the ordinary child with ${limit}: ${fork.slice(0, 20)}`,
          );
          const result = await run(caller);
          if (fits) {
            requireReady(result);
          } else {
            assert.equal(result.report.size, 0);
            assert.deepEqual(result.answers.at(-1), {
              kind: 'failed',
              step: 'execute',
              error: EAGAIN,
              value: 0n,
            });
          }
          await first.ask('');
        }
      });

      it('with a descriptor limit below the launcher’s own needs gets an engine', async () => {
        // 3: a child can open nothing, but the directories and the connection were opened before.
        const caller = await callerWith(...alice, `limit=${limitNofile}:8:8`);
        requireReady(await run(caller, { imagesDir: '/' }));
      });

      it('under SCHED_DEADLINE, which cannot fork, gets no engine', async function () {
        const caller = await callerWith(...alice);
        if (!makeDeadline(caller.pid)) cannotShow(this, 'SCHED_DEADLINE is refused on this machine');
        assert.match(await caller.ask('child'), new RegExp(`fork=${EAGAIN}`));
        requireFailure(await run(caller), { step: 'scheduler', error: EAGAIN });
      });

      it('cannot trace or look into a launcher that has its uid already', async function () {
        if (!existsSync('/dev/fuse'))
          cannotShow(this, 'no /dev/fuse, and so no directory that never answers');
        const mount = workshop.path(`silent-${basename(launcher)}`);
        mkdirSync(mount);
        const child = spawn(workshop.path('silent-mount'), [mount], {
          stdio: ['pipe', 'pipe', 'inherit'],
        } as SpawnOptionsWithoutStdio);
        const started = await Promise.race([
          new Promise<string>((resolve) =>
            child.stdout.once('data', (data: Buffer) => resolve(data.toString())),
          ),
          new Promise<string>((resolve) => child.once('exit', () => resolve('exit'))),
        ]);
        if (started !== 'ready\n') cannotShow(this, 'FUSE cannot be mounted here');
        try {
          const caller = await callerWith(...alice);
          let probed = '';
          const result = await run(
            caller,
            { imagesDir: join(mount, 'anything') },
            {
              meanwhile: async (pid, kill) => {
                await untilUid(pid, uid);
                probed = await caller.ask(`probe ${pid}`);
                kill();
              },
            },
          );
          assert.equal(probed, `ptrace=${EPERM} fds=${EACCES} memory=${EACCES} getfd=${EPERM}`);
          assert.deepEqual(
            result.answers,
            [],
            'a directory that never answers: the service kills the launcher',
          );
          assert.deepEqual(result.exit, { kind: 'signalled', signal: 9 });
        } finally {
          const ended = new Promise((resolve) => child.once('exit', resolve));
          child.stdin.end();
          await ended;
        }
      });
    });

    describe('parameters', () => {
      it('that are malformed are refused, with the place', async () => {
        const caller = await callerWith(...alice);
        const good = encodeParameters(caller.parameters(workshop));
        const changed = (offset: number, value: number): Buffer => {
          const packet = Buffer.from(good);
          packet.writeUInt32LE(value, offset);
          return packet;
        };
        const place = BigInt(good.length - workshop.preload.length - 1);
        const cases: [string, Uint8Array, number, bigint][] = [
          ['one byte', good.subarray(0, 1), EINVAL, 1n],
          ['a short head', good.subarray(0, 95), EINVAL, 95n],
          ['a short tail', good.subarray(0, good.length - 1), EINVAL, place],
          ['bytes behind the end', Buffer.concat([good, Buffer.from([0])]), EINVAL, BigInt(good.length)],
          ['another protocol', changed(0, 1), EINVAL, 0n],
          ['another version', changed(4, 1), EINVAL, 4n],
          ['an unknown flag', changed(8, 32), EINVAL, 8n],
          ['clocks without images', changed(8, 16), EINVAL, 8n],
          ['pid 0', changed(12, 0), EINVAL, 12n],
          ['pid 1', changed(12, 1), EINVAL, 12n],
          ['uid 0', changed(16, 0), EINVAL, 16n],
          ['uid -1', changed(16, 0xffffffff), EINVAL, 16n],
          ['gid -1', changed(20, 0xffffffff), EINVAL, 20n],
          ['a umask with other bits', changed(24, 0o1777), EINVAL, 24n],
          ['images_fd -2', changed(28, 0xfffffffe), EINVAL, 28n],
          ['work_fd -2', changed(32, 0xfffffffe), EINVAL, 32n],
          ['status_fd -2', changed(36, 0xfffffffe), EINVAL, 36n],
          ['ambient beyond inheritable', changed(56, 1), EINVAL, 56n],
          ['too many groups', changed(64, maxLauncherGroups + 1), EINVAL, 64n],
          ['more groups than there are', changed(64, maxLauncherGroups), EINVAL, 96n],
          ['a huge string', changed(68, 0xffffffff), EINVAL, 112n],
          ['no criu', changed(68, 0), EINVAL, 112n],
          ['a relative criu', setByte(good, 112, 0x2e), EINVAL, 112n],
          ['a NUL inside of a path', setByte(good, 114, 0), EINVAL, 112n],
          ['a path without its NUL', setByte(good, 112 + workshop.path('report').length, 0x2f), EINVAL, 112n],
          ['no library', withoutPreload(good, workshop.preload), EINVAL, 88n],
          [
            'a relative library',
            setByte(good, good.length - workshop.preload.length - 1, 0x2e),
            EINVAL,
            place,
          ],
          ['a library with a blank in its path', setByte(good, good.length - 2, 0x20), EINVAL, 88n],
          ['two libraries', setByte(good, good.length - 2, 0x3a), EINVAL, 88n],
          ['too many descriptors to copy', changed(92, maxInherited + 1), EINVAL, 92n],
          ['more descriptors to copy than there are', changed(92, maxInherited), EINVAL, 112n],
          ['groups out of order', changed(96, 0xfffffffe), EINVAL, 100n],
          ['a group -1', changed(108, 0xffffffff), EINVAL, 108n],
          ['all ones', Buffer.alloc(200, 0xff), EINVAL, 0n],
          ['all zero', Buffer.alloc(4096), EINVAL, 0n],
          [
            'more than there can be',
            Buffer.alloc(96 + 4 * (maxLauncherGroups + maxInherited) + 6 * 4096 + 1),
            EMSGSIZE,
            BigInt(96 + 4 * (maxLauncherGroups + maxInherited) + 6 * 4096 + 1),
          ],
        ];
        for (const [name, packet, error, value] of cases) {
          const result = await launch({ launcher, caller, packet });
          try {
            requireFailure(result, { step: 'parameters', error, value });
          } catch (cause) {
            throw new Error(name, { cause });
          }
        }
      });

      it('of random bytes never execute anything', async () => {
        const caller = await callerWith(...alice);
        const good = encodeParameters({
          ...caller.parameters(workshop),
          imagesDir: '/',
          label: { label: 'a', command: 'b' },
        });
        let seed = 12345;
        const random = (): number => {
          seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
          return seed;
        };
        for (let round = 0; round < 60; round += 1) {
          const packet = Buffer.from(good);
          // Three bits of the head. All later checks end at the label, which no module here accepts.
          for (let flip = 0; flip < 3; flip += 1) packet[random() % 96]! ^= 1 << (random() % 8);
          const result = await launch({ launcher, caller, packet });
          assert.equal(result.answers[0]!.kind, 'failed');
          assert.equal(result.report.size, 0);
        }
      });

      it('that never come, because the service has gone, end the launcher', async () => {
        const caller = await callerWith(...alice);
        const result = await launch({ launcher, caller, packet: undefined });
        assert.deepEqual(result.exit, { kind: 'exited', code: 1 });
      });

      it('whose answer has no reader execute nothing', async () => {
        const caller = await callerWith(...alice);
        const marker = workshop.path(`marker-${basename(launcher)}`);
        mkdirSync(marker);
        chmodSync(marker, 0o777);
        const file = join(marker, 'status');
        closeSync(openSync(file, 'w'));
        chmodSync(file, 0o666);
        const statusFd = Number(await caller.ask(`open ${file}`));
        const packet = encodeParameters({ ...caller.parameters(workshop), statusFd });
        const { ours: control, theirs } = native.socketpair();
        assert.ok(control.send(packet));
        control.close();
        const null_ = native.open('/dev/null', fs.O_RDWR);
        const started = native.spawn({
          file: launcher,
          argv: ['criu-launcher'],
          env: [],
          fds: [
            { source: null_, target: 0 },
            { source: null_, target: 1 },
            { source: null_, target: 2 },
            { source: theirs, target: 3 },
            { source: caller.pidfd, target: 4 },
            { source: caller.procDirectory, target: 5 },
          ],
        });
        theirs.close();
        null_.close();
        const exit = await new Promise((resolve) => started.onExit(resolve));
        started.close();
        assert.deepEqual(exit, { kind: 'exited', code: 1 });
        assert.equal(readFileSync(file, 'utf8'), '', 'an engine was executed, and wrote');
      });

      it('that ask for things beyond the kernel’s limits are refused, by the step', async () => {
        const caller = await callerWith(...alice);
        requireFailure(await run(caller, { bounding: 1n << 63n }), {
          step: 'bounding',
          error: EPERM,
          value: 63n,
        });
        requireFailure(await run(caller, { inheritable: 1n << 62n }), { step: 'proof', value: 4n });
        requireFailure(await run(caller, { label: { label: 'nobody_t', command: 'nobody_t' } }), {
          step: 'label',
        });
        requireFailure(await run(caller, { uid: uid + 9 }), { step: 'read-limit', error: EPERM, value: 0n });
      });
    });
  });
}

/** The copy of the control socket is the last descriptor. Its number is the engine's CRIU_SERVICE_READY. */
function requireControl(report: Report, fd: number): void {
  assert.equal(report.get('environment.5'), `CRIU_SERVICE_READY=${fd}`);
  assert.match(report.get(`fd.${fd}`)!, /^socket:/);
  assert.equal(report.has(`fd.${fd + 1}`), false);
}

function withoutPreload(packet: Buffer, preload: string): Buffer {
  const changed = Buffer.from(packet.subarray(0, packet.length - preload.length - 1));
  changed.fill(0, 88, 92);
  return changed;
}

function setByte(bytes: Uint8Array, offset: number, value: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[offset] = value;
  return changed;
}

/** Waits until the process has the uid, and sleeps: the launcher is past the change and its proof, in the open that never ends. */
async function untilUid(pid: number, wanted: number): Promise<void> {
  const sleeping = new RegExp(`^State:\\s+[SD][^]*^Uid:\\s+${wanted}\\s+${wanted}\\s+${wanted}\\s`, 'm');
  let asleep = 0;
  for (let round = 0; round < 40_000; round += 1) {
    // What waits for a processor counts as running.
    asleep = sleeping.test(readFileSync(`/proc/${pid}/status`, 'latin1')) ? asleep + 1 : 0;
    if (asleep === 20) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error('the launcher did not become its caller');
}

/** A file capability without setcap(8). */
function setCapabilityXattr(path: string, cause: unknown): void {
  const value = Buffer.alloc(20);
  value.writeUInt32LE(0x02000001, 0);
  value.writeUInt32LE(1 << 8, 12);
  try {
    execFileSync('python3', [
      '-c',
      'import os,sys; os.setxattr(sys.argv[1], "security.capability", bytes.fromhex(sys.argv[2]))',
      path,
      value.toString('hex'),
    ]);
  } catch {
    throw new Error('neither setcap nor python3 can set file capabilities', { cause });
  }
}

function makeDeadline(pid: number): boolean {
  try {
    execFileSync(
      'chrt',
      ['-d', '-T', '1000000', '-D', '10000000', '-P', '10000000', '-p', '0', String(pid)],
      { stdio: 'pipe' },
    );
    return true;
  } catch {
    return false;
  }
}
