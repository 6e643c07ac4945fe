/**
 * Tests the library of engines against the kernel, in a program that stands for CRIU and that the launcher executes as its
 * caller. For each guarantee that can be switched off in the library, a test also shows its absence.
 */
import { strict as assert } from 'node:assert';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { type EngineIdentity, LaunchError, startConfinedEngine } from '../../src/engine/confined.ts';
import type { EngineCgroup } from '../../src/engine/engine-cgroup.ts';
import type { LaunchParameters } from '../../src/engine/launcher-protocol.ts';
import {
  brokenPreload,
  builtPreload,
  compileEarly,
  compileProbe,
  heldBy,
  TestEngine,
} from './engine-preload/engine.ts';
import { TestCaller, Workshop } from './launcher/support.ts';

const { EACCES, EPERM } = constants.errno;
const checkpointRestore = 1n << 40n;
const readOnly = 0;
const writeOnly = 1;
const readWrite = 2;
const ofDirectory = 0o200000;

/** Numbers that no account has, different in each run. */
const uid = 700_000 + (process.pid % 100_000);
const alice = [`uid=${uid}`, `gid=${uid}`];
const capable = [
  ...alice,
  `inheritable=${checkpointRestore.toString(16)}`,
  `ambient=${checkpointRestore.toString(16)}`,
];

const asleep = { inheritable: false, permitted: true, effective: false, ambient: false };
const awake = { ...asleep, effective: true };
const nothing = { ...asleep, permitted: false };

const workshop = new Workshop();
const callers: TestCaller[] = [];
const engines: TestEngine[] = [];
let launcher: string;
let probe: string;
let preload: string;
let withoutSleep: string;
let dumpable: string;

async function callerWith(traits: readonly string[]): Promise<TestCaller> {
  const caller = await TestCaller.start(workshop, traits);
  callers.push(caller);
  return caller;
}

interface Changes extends Partial<LaunchParameters> {
  readonly traits?: readonly string[];
}

async function engineWith({ traits = alice, ...changes }: Changes = {}): Promise<TestEngine> {
  const caller = await callerWith(traits);
  const parameters = { ...caller.parameters(workshop), criu: probe, preload, ...changes };
  const engine = await TestEngine.start(launcher, caller, parameters);
  engines.push(engine);
  return engine;
}

let lastPid = Math.min(Number(readFileSync('/proc/sys/kernel/pid_max', 'latin1')), 1 << 22) - 1;

/** A pid that is unused, and that was not given before. */
function freePid(): number {
  for (lastPid -= 1; existsSync(`/proc/${lastPid}`); lastPid -= 1);
  return lastPid;
}

/** A child of the engine with a pid that the engine chose. */
async function restore(engine: TestEngine): Promise<number> {
  const pid = freePid();
  assert.equal(await engine.number(`child set-tid ${pid}`), pid);
  // The call that makes the process runs with the capability in effect.
  await until(() => !heldBy(pid).effective, 'the capability of a new process sleeps');
  return pid;
}

const ownerOf = (pid: number): number => statSync(`/proc/${pid}/maps`).uid;

/** A file of root's that a process of the caller has mapped, as the kernel names the link. */
function mappingOf(pid: number): string {
  const [line] = readFileSync(`/proc/${pid}/maps`, 'latin1')
    .split('\n')
    .filter((each) => each.includes('/'));
  // The links have no zeros in front of an address.
  return line!.slice(0, line!.indexOf(' ')).replace(/(^|-)0+/g, '$1');
}

function hasEnded(pid: number): boolean {
  try {
    return / [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return true;
  }
}

async function until(holds: () => boolean, what: string): Promise<void> {
  for (let round = 0; round < 20_000; round += 1) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail(`${what}: not within 200 s`);
}

/** A child first gives up its capability, but its parent may have gone on before. */
function holdsNothing(pid: number, kind: string): Promise<void> {
  return until(() => isDeepStrictEqual(heldBy(pid), nothing), `a child (${kind}) holds nothing`);
}

/** Ends the children of engines, and their children: children may outlive an engine, and their own children end at no hang-up. */
function endAllOf(owner: number): Promise<void> {
  return until(() => {
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    return pids.filter((pid) => kill(owner, Number(pid))).length === 0;
  }, `the processes of ${owner} have ended`);
}

/** @returns whether it was alive. */
function kill(owner: number, pid: number): boolean {
  try {
    if (hasEnded(pid) || !readFileSync(`/proc/${pid}/status`, 'latin1').includes(`\nUid:\t${owner}\t`))
      return false;
    return process.kill(pid, 'SIGKILL');
  } catch {
    return false;
  }
}

describe('the library of engines', () => {
  before(() => {
    launcher = workshop.plainLauncher();
    probe = compileProbe(workshop, 'probe');
    preload = builtPreload(workshop);
    withoutSleep = brokenPreload(workshop, 'TEST_WITHOUT_SLEEP');
    dumpable = brokenPreload(workshop, 'TEST_DUMPABLE');
  });
  afterEach(async () => {
    // A tracing caller learns of the engine's end before this process.
    for (const caller of callers) await caller.end();
    for (const engine of engines.splice(0)) await engine.end();
    await endAllOf(uid);
    for (const caller of callers.splice(0)) caller.close();
  });
  after(() => workshop.remove());

  describe('before the engine begins', () => {
    it('reports it, closes the copy of the control socket and leaves nothing in the environment', async () => {
      const engine = await engineWith();
      assert.deepEqual(engine.answers, [{ kind: 'ready', files: {} }, { kind: 'guarded' }]);
      const targets = readdirSync(`/proc/${engine.pid}/fd`).map((fd) => [
        Number(fd),
        readlinkSync(`/proc/${engine.pid}/fd/${fd}`),
      ]);
      assert.deepEqual(
        targets
          .filter(([fd]) => (fd as number) > 3)
          .map(([, target]) => target)
          .sort(),
        ['clear_refs', 'pagemap'].map((name) => `/proc/${engine.pid}/${name}`),
      );
      for (const name of ['LD_PRELOAD', 'CRIU_SERVICE_READY', 'CRIU_SERVICE_CAPABILITY'])
        assert.equal(await engine.ask(`variable ${name}`), '(absent)', name);
      assert.match(await engine.ask('variable CRIU_CONFIG_FILE'), /unprivileged\.conf$/);
    });

    it('works even if constructors of other libraries run first', async () => {
      const criu = compileProbe(workshop, 'probe-early', ...compileEarly(workshop));
      const engine = await engineWith({ criu });
      assert.deepEqual(heldBy(engine.pid), asleep);
    });
  });

  describe('the capability of an engine', () => {
    it('is permitted and asleep, and is not inherited by programs that it executes', async () => {
      assert.deepEqual(heldBy((await engineWith()).pid), asleep);
    });

    it('is awake in a library that was broken for this test', async () => {
      assert.deepEqual(heldBy((await engineWith({ preload: withoutSleep })).pid), awake);
    });

    it('is absent if the request does not need it', async () => {
      const engine = await engineWith({ noCapability: true });
      assert.deepEqual(heldBy(engine.pid), nothing);
      assert.equal(await engine.number(`child set-tid ${freePid()}`), -EPERM);
    });

    it('sleeps and is inherited if children of the caller hold it anyway', async () => {
      for (const noCapability of [false, true]) {
        const engine = await engineWith({ traits: capable, noCapability });
        assert.deepEqual(heldBy(engine.pid), { ...asleep, inheritable: true, ambient: true });
      }
    });

    it('counts as in effect if CRIU asks, and sleeps even after CRIU makes all permitted capabilities effective', async () => {
      const engine = await engineWith();
      assert.equal(await engine.number('effective'), 1);
      assert.equal(await engine.number('take-permitted'), 0);
      assert.deepEqual(heldBy(engine.pid), asleep);
      const pid = await restore(engine);
      assert.equal(await engine.number('in 0 take-permitted'), 0);
      assert.deepEqual(heldBy(pid), asleep);
    });
  });

  describe('an image of the caller', () => {
    it('that names /proc/PID/map_files of another process gives an engine no access', async () => {
      const other = await callerWith(alice);
      const path = `/proc/${other.pid}/map_files/${mappingOf(other.pid)}`;
      const images = workshop.path('images');
      mkdirSync(images);
      symlinkSync(path, join(images, 'a-b'));
      const engine = await engineWith();
      await restore(engine);
      const openAll = async (from: TestEngine, prefix: string): Promise<number[]> => {
        const directory = await from.number(`${prefix}open ${ofDirectory} ${images}`);
        const proc = await from.number(`${prefix}open ${ofDirectory} /proc/${other.pid}`);
        const root = await from.number(`${prefix}open ${ofDirectory} /`);
        return [
          await from.number(`${prefix}open ${readOnly} ${path}`),
          await from.number(`${prefix}openat ${root} ${readOnly} .${path}`),
          // The form of a name that CRIU makes itself, but in a directory outside /proc.
          await from.number(`${prefix}openat ${directory} ${readOnly} a-b`),
          await from.number(`${prefix}fstatat ${directory} a-b`),
          await from.number(
            `${prefix}openat ${proc} ${readOnly} ../${other.pid}/map_files/${mappingOf(other.pid)}`,
          ),
        ];
      };
      const refused = [-EPERM, -EPERM, -EPERM, -EPERM, -EPERM];
      assert.deepEqual(await openAll(engine, ''), refused);
      assert.deepEqual(await openAll(engine, 'in 0 '), refused);
      // The bite: with the capability in effect the engine opens all of these.
      const broken = await engineWith({ preload: withoutSleep });
      for (const result of await openAll(broken, '')) assert.ok(result >= 0, String(result));
    });

    it('that names a file of another engine of the same user gives no access, either', async () => {
      const other = await engineWith();
      const path = `/proc/${other.pid}/fd/0`;
      assert.equal(await (await engineWith()).number(`open ${readOnly} ${path}`), -EACCES);
      const broken = await engineWith({ preload: withoutSleep });
      assert.equal(await broken.number(`open ${readOnly} ${path}`), -EACCES, 'two walls stand here');
      const looked = await engineWith({ preload: dumpable });
      assert.ok((await broken.number(`open ${readOnly} /proc/${looked.pid}/fd/0`)) >= 0, 'the bite of both');
    });
  });

  describe('a name that CRIU makes itself', () => {
    it('is opened with the capability: a mapping only by an engine, not by a process that it restores', async () => {
      const other = await callerWith(alice);
      const engine = await engineWith();
      await restore(engine);
      const range = mappingOf(other.pid);
      for (const [directory, name] of [
        [`/proc/${other.pid}/map_files`, range],
        [`/proc/${other.pid}`, `map_files/${range}`],
      ]) {
        const fd = await engine.number(`open ${ofDirectory} ${directory}`);
        assert.ok((await engine.number(`openat ${fd} ${readOnly} ${name}`)) >= 0, name);
        assert.equal(await engine.number(`fstatat ${fd} ${name}`), 0);
        const inChild = await engine.number(`in 0 open ${ofDirectory} ${directory}`);
        assert.equal(await engine.number(`in 0 openat ${inChild} ${readOnly} ${name}`), -EPERM, name);
      }
      assert.deepEqual(heldBy(engine.pid), asleep, 'it sleeps again');
    });

    it('is opened with the capability: a descriptor of its tree only by a restored process, not by an engine', async () => {
      const engine = await engineWith();
      const [first] = [await restore(engine), await restore(engine)];
      const inChild = await engine.number(`in 1 open ${ofDirectory} /proc/${first}`);
      assert.ok((await engine.number(`in 1 openat ${inChild} ${readOnly} fd/0`)) >= 0);
      assert.equal(await engine.number(`in 1 open ${readOnly} /proc/${first}/fd/0`), -EACCES);
      const inEngine = await engine.number(`open ${ofDirectory} /proc/${first}`);
      assert.equal(await engine.number(`openat ${inEngine} ${readOnly} fd/0`), -EACCES);
      // A helper has no capability to open it with.
      await engine.number('child fork');
      const inHelper = await engine.number(`in 2 open ${ofDirectory} /proc/${first}`);
      assert.equal(await engine.number(`in 2 openat ${inHelper} ${readOnly} fd/0`), -EACCES);
    });

    it('is opened by a CRIU that was compiled with _FORTIFY_SOURCE, too', async () => {
      const criu = compileProbe(
        workshop,
        'probe-fortified',
        '-O2',
        '-U_FORTIFY_SOURCE',
        '-D_FORTIFY_SOURCE=2',
      );
      assert.match(readFileSync(criu, 'latin1'), /__openat64_2/, 'it is another function that is called');
      const other = await callerWith(alice);
      const engine = await engineWith({ criu });
      const fd = await engine.number(`open ${ofDirectory} /proc/${other.pid}/map_files`);
      assert.ok((await engine.number(`openat ${fd} ${readOnly} ${mappingOf(other.pid)}`)) >= 0);
      await engine.number('child fork');
      const path = `/proc/${engine.pid}/fd/0`;
      assert.ok((await engine.number(`in 0 open ${readOnly} ${path}`)) >= 0);
      assert.equal(await engine.ask(`in 0 readlink ${path} 4096`), '/dev/null');
    });
  });

  describe('an engine', () => {
    it('stays not dumpable in spite of CRIU’s prctl(2): its /proc/PID is root’s', async () => {
      const engine = await engineWith();
      assert.equal(ownerOf(engine.pid), 0);
      assert.equal(await engine.number('dumpable 1'), 0, 'CRIU sees no failure');
      assert.equal(ownerOf(engine.pid), 0);
      assert.equal(await engine.number('vm dumpable 1'), 0, 'nor from a child that shares its memory');
      assert.equal(ownerOf(engine.pid), 0);
      assert.equal(ownerOf((await engineWith({ preload: dumpable })).pid), uid, 'the bite');
    });

    it('cannot be traced or looked into by a process with the same capability', async () => {
      const other = await callerWith(capable);
      const engine = await engineWith();
      assert.equal(
        await other.ask(`probe ${engine.pid}`),
        `ptrace=${EPERM} fds=${EACCES} memory=${EACCES} getfd=${EPERM}`,
      );
      const broken = await engineWith({ preload: dumpable });
      assert.match(await other.ask(`probe ${broken.pid}`), /^ptrace=0 fds=0 memory=0 /, 'the bite');
    });

    it('reads its own page map, and finds /proc/self/map_files there', async () => {
      const engine = await engineWith();
      const self = await engine.number(`open ${ofDirectory} /proc/self`);
      const pagemap = await engine.number(`openat ${self} ${readOnly} pagemap`);
      assert.equal(readlinkSync(`/proc/${engine.pid}/fd/${pagemap}`), `/proc/${engine.pid}/pagemap`);
      assert.equal(await engine.number('access /proc/self/map_files'), 0);
      assert.equal(await engine.number('access /proc/self/mem'), -EACCES, 'and nothing else');
    });
  });

  describe('the file by which CRIU tracks memory', () => {
    it('is opened for writing only, its own and that of a process of its user', async () => {
      const engine = await engineWith();
      for (const pid of [engine.pid, (await callerWith(capable)).pid]) {
        const directory = await engine.number(`open ${ofDirectory} /proc/${pid}`);
        const opened = await engine.number(`openat ${directory} ${readWrite} clear_refs`);
        assert.equal(readlinkSync(`/proc/${engine.pid}/fd/${opened}`), `/proc/${pid}/clear_refs`);
        const flags = /^flags:\t(\d+)$/m.exec(readFileSync(`/proc/${engine.pid}/fdinfo/${opened}`, 'latin1'));
        assert.equal(Number.parseInt(flags?.[1] ?? '', 8) & 3, writeOnly);
      }
    });
  });

  describe('a process with a pid of the engine’s choice', () => {
    it('is dumpable, and its capability sleeps until CRIU restores its umask', async () => {
      const engine = await engineWith();
      const pid = await restore(engine);
      assert.deepEqual(heldBy(pid), asleep);
      assert.deepEqual(heldBy(engine.pid), asleep, 'so does that of the engine again');
      assert.equal(ownerOf(pid), uid);
      await engine.number('umask 2');
      assert.deepEqual(heldBy(engine.pid), asleep, "the engine's own umask changes nothing");
      await engine.number('in 0 umask 2');
      assert.deepEqual(heldBy(pid), awake);
      assert.deepEqual(heldBy(engine.pid), asleep);
    });

    it('makes such processes itself, and other children hold nothing', async () => {
      const engine = await engineWith();
      await restore(engine);
      const pid = freePid();
      assert.equal(await engine.number(`in 0 child set-tid ${pid}`), pid);
      await until(() => isDeepStrictEqual(heldBy(pid), asleep), 'the capability of a new process sleeps');
      for (const kind of ['fork', 'clone', 'clone3'])
        await holdsNothing(await engine.number(`in 0 child ${kind}`), kind);
    });
  });

  describe('any other child of an engine', () => {
    it('is dumpable and holds nothing, and gets nothing back', async () => {
      const engine = await engineWith();
      for (const [index, kind] of ['fork', 'clone', 'clone3'].entries()) {
        const pid = await engine.number(`child ${kind}`);
        await holdsNothing(pid, kind);
        assert.equal(ownerOf(pid), uid, kind);
        await engine.number(`in ${index} umask 2`);
        await engine.number(`in ${index} take-permitted`);
        assert.deepEqual(heldBy(pid), nothing, kind);
        assert.equal(await engine.number(`in ${index} child set-tid ${freePid()}`), -EPERM);
      }
    });

    it('that shares the engine’s memory changes nothing of the engine', async () => {
      const engine = await engineWith();
      await engine.number('vm umask 2');
      await engine.number('vm take-permitted');
      assert.deepEqual(heldBy(engine.pid), asleep);
    });

    it('opens the engine’s own descriptors by the number and the pid of the engine', async () => {
      const directory = workshop.path('held');
      mkdirSync(directory);
      const engine = await engineWith();
      const fd = await engine.number(`open ${ofDirectory} ${directory}`);
      await engine.number('child fork');
      const path = `/proc/${engine.pid}/fd/${fd}`;
      assert.ok((await engine.number(`in 0 open ${ofDirectory} ${path}`)) >= 0);
      assert.equal(await engine.ask(`in 0 readlink ${path} 4096`), directory);
      assert.equal(await engine.number(`in 0 chdir ${path}`), 0);
      // A restored process takes names from images, so its names are not replaced.
      await restore(engine);
      assert.equal(await engine.number(`in 1 open ${ofDirectory} ${path}`), -EACCES);
    });
  });

  describe('a program that an engine executes', () => {
    it('has neither the library nor the capability', async () => {
      const engine = await engineWith();
      assert.equal(await engine.number('child fork'), await engine.number('in 0 pid'));
      const pid = await engine.number('in 0 pid');
      for (const [executed, command] of [
        [pid, `in 0 execute ${probe}`],
        [engine.pid, `execute ${probe}`],
      ] as const) {
        assert.match(readFileSync(`/proc/${executed}/maps`, 'latin1'), /preload\.so/, 'the bite');
        assert.equal(await engine.ask(command), 'executed');
        assert.doesNotMatch(readFileSync(`/proc/${executed}/maps`, 'latin1'), /preload\.so/);
        assert.deepEqual(heldBy(executed), nothing);
        assert.equal(ownerOf(executed), uid);
      }
    });

    it('has the capability if any child of the caller has it', async () => {
      const engine = await engineWith({ traits: capable });
      assert.equal(await engine.ask(`execute ${probe}`), 'executed');
      assert.deepEqual(heldBy(engine.pid), {
        inheritable: true,
        permitted: true,
        effective: true,
        ambient: true,
      });
    });
  });

  describe('a process that an engine traces', () => {
    const endOf = (name: string): string => {
      const directory = workshop.path('ends');
      mkdirSync(directory, { recursive: true });
      chmodSync(directory, 0o777);
      return join(directory, name);
    };
    const trace = async (engine: TestEngine, child: number, name: string): Promise<number> => {
      const pid = await engine.number('child fork');
      assert.equal(await engine.number(`in ${child} at-end ${endOf(name)}`), 0);
      assert.equal(await engine.number(`seize ${pid}`), 0);
      return pid;
    };

    it('lives on if an engine is killed that has made no process with a pid of its choice', async () => {
      const engine = await engineWith();
      const pid = await trace(engine, 0, 'lives');
      const other = await trace(engine, 1, 'lives-too');
      assert.equal(await engine.number(`set-options ${other}`), 0);
      await engine.kill();
      await until(() => existsSync(endOf('lives')) && existsSync(endOf('lives-too')), 'the targets live on');
      assert.ok(!hasEnded(pid) && !hasEnded(other));
    });

    it('ends with an engine that has made such a process', async () => {
      const engine = await engineWith();
      await restore(engine);
      const pid = await trace(engine, 1, 'ends');
      const other = await trace(engine, 2, 'ends-too');
      assert.equal(await engine.number(`set-options ${other}`), 0);
      await engine.kill();
      await until(() => hasEnded(pid) && hasEnded(other), 'what was traced has ended');
    });
  });

  describe('an engine that detaches from a process', () => {
    it('gives the capability up first, if it has restored', async () => {
      const engine = await engineWith();
      const pid = await restore(engine);
      assert.equal(await engine.number(`seize ${pid}`), 0);
      assert.deepEqual(heldBy(engine.pid), asleep);
      // The process is not stopped, so the detach fails, but the capability has gone before the attempt.
      assert.ok((await engine.number(`detach ${pid}`)) < 0);
      assert.deepEqual(heldBy(engine.pid), nothing);
      assert.equal(await engine.number(`child set-tid ${freePid()}`), -EPERM);
      assert.deepEqual(heldBy(engine.pid), nothing, 'and it does not come back');
    });

    it('keeps the capability, if it dumps', async () => {
      const engine = await engineWith();
      const pid = await engine.number('child fork');
      await holdsNothing(pid, 'fork');
      assert.equal(await engine.number(`seize ${pid}`), 0);
      assert.ok((await engine.number(`detach ${pid}`)) < 0);
      assert.deepEqual(heldBy(engine.pid), asleep);
    });
  });

  describe('a criu that does not load the library', () => {
    it('gets no request: the start fails with a sentence, and leaves no process', async () => {
      const criu = compileProbe(workshop, 'probe-static', '-static');
      const caller = await callerWith(alice);
      const {
        pid,
        uid: own,
        gid,
        groups,
        umask,
        noNewPrivs,
        bounding,
        inheritable,
        ambient,
      } = caller.parameters(workshop);
      const identity: EngineIdentity = {
        ...{ pid, uid: own, gid, groups, umask, noNewPrivs, bounding, inheritable, ambient },
        pidfd: caller.pidfd,
        procDirectory: caller.procDirectory,
      };
      let started = 0;
      let gone: Promise<void> | undefined;
      const unused = (): never => assert.fail('there is an engine');
      await assert.rejects(
        startConfinedEngine(
          { criu, launcher, configFile: workshop.config, preload, deadlineMs: 20_000, timeNamespaces: true },
          identity,
          {},
          { fromImages: false },
          false,
          undefined,
          {
            with: async (pid_) => {
              started = pid_;
              return { kill: () => {}, remove: () => {} } as EngineCgroup;
            },
          },
          { onMessage: unused, onHangup: unused, onEnd: unused, onLie: unused, expectsTerminal: () => false },
          (promise) => {
            gone = promise;
          },
        ),
        (error) =>
          error instanceof LaunchError &&
          error.errno === constants.errno.ETIMEDOUT &&
          error.message.startsWith(`${criu} did not load ${preload} within 20 s`),
      );
      await gone;
      assert.ok(started > 0 && hasEnded(started));
    });
  });
});
