/** The call of criu-grant while another thread of the task has a filter that holds it (seccomp(2), SECCOMP_RET_USER_NOTIF). */
import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { cpSync, constants as fs, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeGrantParameters, type GrantAnswer } from '../../src/engine/grant-protocol.ts';
import { type ExitStatus, native, type SeqpacketSocket } from '../../src/native/binding.ts';
import { ask, built, openDirectory, sources, Target, uid, useTargets, workshop } from './grant/targets.ts';

/**
 * Waits until criu-grant has judged the task, which stands still: it has opened the task's memory, and reads its mappings.
 * @returns the pid of its process that does so; undefined if criu-grant is done (`end`) without having been seen there.
 */
async function judgeOf(target: Target, end: Promise<unknown>): Promise<number | undefined> {
  let isOver = false;
  const over = (): void => {
    isOver = true;
  };
  end.then(over, over);
  while (!isOver) {
    const grant = /^TracerPid:\t(\d+)/m.exec(target.kept)![1]!;
    if (grant !== '0' && opens(grant).includes(`/proc/${target.pid}/mem`)) return Number(grant);
    await sleep(0);
  }
  return undefined;
}

/** Stops criu-grant. @returns whether it still reads the task's mappings: then it has yet to make its call. */
async function stopsAtMappings(grant: number, target: Target): Promise<boolean> {
  try {
    process.kill(grant, 'SIGSTOP');
    while (!/^State:\tT/m.test(readFileSync(`/proc/${grant}/status`, 'latin1'))) await sleep(0);
  } catch {
    // It has ended.
    return false;
  }
  return opens(`${grant}`).includes(`/proc/${target.pid}/maps`);
}

function opens(pid: string): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
  } catch {
    // It, or the descriptor, has gone.
    return [];
  }
}

interface Held {
  readonly target: Target;
  readonly engine: Target;
  readonly answer: Promise<GrantAnswer>;
}

/** criu-grant as the service starts it, for a service that does not wait for its answer. */
function start(target: Target, engine: Target): { service: SeqpacketSocket; status: Promise<ExitStatus> } {
  const { ours, theirs } = native.socketpair();
  const nothing = native.open('/dev/null', fs.O_RDWR);
  const self = openDirectory(process.pid);
  const sources = [nothing, nothing, nothing, theirs, self, target.directory, engine.directory];
  const fds = sources.map((source, number) => ({ source, target: number }));
  const running = native.spawn({ file: built, argv: ['criu-grant'], env: [], fds });
  for (const fd of [theirs, nothing, self]) fd.close();
  const account = { caller: process.pid, uid, gid: uid, permitted: 0n };
  ours.send(
    encodeGrantParameters({
      ...account,
      needsRelation: false,
      namesAll: true,
      root: target.pid,
      engine: engine.pid,
    }),
  );
  const status = new Promise<ExitStatus>((resolve) => running.onExit(resolve));
  return { service: ours, status: status.finally(() => running.close()) };
}

/** A target whose call is held. The filter comes too late for some targets, or another look of criu-grant's finds it. */
async function hold(act: string, file = built, deadlineMs?: number): Promise<Held> {
  const engine = await Target.start(['read']);
  for (let times = 0; times < 40; times += 1) {
    const target = await Target.start([act]);
    const answer = ask(target, { engine: engine.pid }, true, file, { engine: engine.directory }, deadlineMs);
    const isOver = answer.then(() => 'over' as const);
    if ((await judgeOf(target, answer)) === undefined) continue;
    target.say();
    const line = await Promise.race([target.line(), isOver]);
    if (line === 'over') continue;
    assert.equal(line, `call ${engine.pid}`);
    return { target, engine, answer };
  }
  throw new Error('No call was held');
}

/** The task is as it was before: its own call is the next. */
async function goesOn(target: Target): Promise<void> {
  target.signal(constants.signals.SIGUSR1);
  assert.equal(await target.line(), 'call 1');
  target.say();
  assert.equal(await target.line(), 'own call 0');
}

describe('criu-grant, whose call is held by a filter of another thread', () => {
  useTargets();

  it('lets the task name nobody, if the engine has gone before the call is over', async () => {
    const { target, engine, answer } = await hold('held');
    engine.signal(constants.signals.SIGKILL);
    while (engine.status !== undefined) await sleep(1);
    target.say();
    const next = await Promise.race([target.line(), answer]);
    assert.equal(next, 'call 0');
    target.say();
    const { fault, pid } = await answer;
    assert.deepEqual([fault, pid], ['gone', engine.pid]);
    await goesOn(target);
  });

  it('makes no call for a service that has gone, and ends', async () => {
    // The filter comes too late for some, and sees nothing of them.
    let met = 0;
    for (let times = 0; times < 100 && met < 10; times += 1) {
      const target = await Target.start(['held']);
      const engine = await Target.start(['read']);
      const { service, status } = start(target, engine);
      const grant = await judgeOf(target, status);
      // Otherwise the service is there still when the call is made.
      const comesFirst = grant !== undefined && (await stopsAtMappings(grant, target));
      service.close();
      try {
        if (grant !== undefined) process.kill(grant, 'SIGCONT');
      } catch {
        // It has ended.
      }
      if (!comesFirst) {
        await status;
        continue;
      }
      target.say();
      assert.deepEqual(await status, { kind: 'exited', code: 1 });
      await goesOn(target);
      met += 1;
    }
    assert.equal(met, 10);
  });

  it('is late, and leaves the task as it was', async () => {
    const { target, answer } = await hold('held');
    const { fault, pid } = await answer;
    assert.deepEqual([fault, pid], ['late', target.pid]);
    target.say();
    await goesOn(target);
  });

  const program = join(workshop, 'grant-shorter');
  before(() => {
    const shorter = join(workshop, 'shorter');
    cpSync(sources, shorter, { recursive: true });
    const header = join(shorter, 'protocol.h');
    const text = readFileSync(header, 'utf8');
    const changed = text.replace('kLastSeconds = 50', 'kLastSeconds = 7');
    assert.notEqual(changed, text);
    writeFileSync(header, changed);
    const files = readdirSync(shorter).flatMap((file) => (file.endsWith('.cc') ? [join(shorter, file)] : []));
    const flags = ['-std=c++20', '-D_GNU_SOURCE', '-D_FILE_OFFSET_BITS=64', '-O1'];
    execFileSync('g++', [...flags, '-o', program, ...files], { stdio: 'inherit' });
  });

  it('is late also if the task can neither be stopped nor put back', async function () {
    // The program ends itself after kLastSeconds: the service kills it later than this test ends.
    this.timeout(300_000);
    const { target, answer } = await hold('held-fast', program, 600_000);
    const { fault, pid } = await answer;
    assert.deepEqual([fault, pid], ['late', target.pid]);
  });
});
