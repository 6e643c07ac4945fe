/** Jobs whose criuctl is killed, interrupted or kept waiting at a bad moment, and directories of jobs that others have made. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { list } from '../../src/cli/gone.ts';
import { it } from '../hostile/support/guarantee.ts';
import { directoryOf } from '../hostile/support/people.ts';
import { eventually, run, succeeds } from './support/bench.ts';
import { criuctl, must } from './support/criuctl.ts';
import { link } from './support/it.ts';
import { TestJob, withJobsOf } from './support/jobs.ts';
import { childrenOf, isAlive, isFree, statusLine } from './support/proc.ts';

const exited = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => child.once('exit', resolve));

/** What the job had written after the checkpoint that it went on from. */
const cutBack = (job: TestJob): string[] =>
  readdirSync(job.path).filter((name) => name.startsWith('stdout.after-'));

async function started(...options: string[]): Promise<TestJob> {
  const job = new TestJob('root');
  must(job.ask('run', ...options, ...job.steps()));
  await eventually('it writes', () => job.lines > 3);
  return job;
}

/** Holds the lock of a job, as a criuctl at work does. */
async function held(job: TestJob): Promise<() => void> {
  const file = join(job.path, 'held');
  const script = `touch ${file}; exec sleep infinity`;
  const holder = spawn('flock', [join(job.path, 'lock'), 'sh', '-c', script], {
    stdio: 'ignore',
    detached: true,
  });
  await eventually('the lock is held', () => existsSync(file));
  return () => {
    process.kill(-holder.pid!, 'SIGKILL');
  };
}

const claimProgram = '/usr/lib/criu-service/criu-job-claim';

const activity = (unit: string): string =>
  run('systemctl', 'show', '--property=ActiveState', '--value', unit).trim();

const isDown = (unit: string): boolean => /^(inactive|failed)$/.test(activity(unit));

describe('a job whose criuctl is struck', () => {
  withJobsOf('root');

  it('by SIGKILL at any name that a suspend gives goes on where it was, and repeats nothing', async () => {
    const job = await started();
    must(job.ask('checkpoint'));
    const calls = '/^(rename|symlink)';
    for (let at = 1; ; at += 1) {
      assert.ok(at < 30, 'a suspend gives a few names');
      await job.goesOn();
      const inject = `inject=${calls}:signal=SIGKILL:when=${at}`;
      const argv = ['-f', '-qq', '-o', '/dev/null', '-e', `trace=${calls}`, '-e', inject];
      const suspend = ['criuctl', 'suspend', job.name];
      const { status, stderr } = spawnSync('strace', [...argv, ...suspend], { encoding: 'utf8' });
      must(job.ask('run', ...job.steps()));
      assert.equal(job.now.state, 'running');
      assert.deepEqual(cutBack(job), [], `name ${at}`);
      if (status === 0) {
        assert.ok(at > 3, `${at} ${stderr}`);
        break;
      }
    }
    await job.letEnd();
    assert.equal(job.ask('wait').status, 0);
    job.assertWhole();
  });

  it('before the files of its job were noted has no checkpoint of these images, and goes on from the one before', async () => {
    const job = await started();
    must(job.ask('checkpoint'));
    await job.goesOn();
    must(job.ask('suspend'));
    const aside = join(job.path, 'checkpoints', '.new-2');
    run('mv', join(job.path, 'checkpoints', '2'), aside);
    rmSync(join(aside, 'files.json'));
    must(job.ask('run', ...job.steps()));
    assert.equal(job.now.from, 1);
    assert.equal(cutBack(job).length, 1);
    await job.letEnd();
    assert.equal(job.ask('wait').status, 0);
    job.assertWhole();
  });

  it('by SIGTERM in the unit of a checkpoint sees the checkpoint to its end, and the job runs on', async () => {
    const job = await started();
    const release = await held(job);
    const asks = spawn('criuctl', ['checkpoint', '--in-unit', job.name], { stdio: 'ignore' });
    const end = exited(asks);
    const waits = (): boolean =>
      list(`/proc/${asks.pid}/fd`).some(
        (fd) => link(`/proc/${asks.pid}/fd/${fd}`) === join(job.path, 'lock'),
      );
    // It has the file open for a moment at each try.
    await eventually('criuctl waits for the lock', () => Array.from({ length: 2000 }).some(waits));
    asks.kill('SIGTERM');
    release();
    assert.equal(await end, 0);
    assert.equal(job.now.latest, 1);
    await job.goesOn();
    must(job.ask('suspend'));
  });

  it('by the patience of systemd, while it waits for another, is given the time, and the job is suspended', async () => {
    const dropIn = '/run/systemd/system/criu-job@.service.d';
    mkdirSync(dropIn, { recursive: true });
    writeFileSync(join(dropIn, 'test.conf'), '[Service]\nTimeoutStopSec=15s\n');
    run('systemctl', 'daemon-reload');
    try {
      const job = await started();
      const unit = `criu-job@${job.name}.service`;
      const release = await held(job);
      try {
        run('systemctl', 'stop', '--no-block', unit);
        await delay(20_000);
        assert.equal(isDown(unit), false, 'systemd waits for criuctl');
      } finally {
        release();
      }
      await eventually('the unit has stopped', () => isDown(unit));
      assert.equal(job.now.state, 'suspended');
      assert.ok(succeeds('systemctl', 'is-enabled', unit));
    } finally {
      rmSync(dropIn, { recursive: true });
      run('systemctl', 'daemon-reload');
    }
  });

  it('by SIGKILL in a stop of its unit leaves a job that is interrupted, stays enabled, and goes on from its last checkpoint', async () => {
    const job = await started();
    must(job.ask('checkpoint'));
    const unit = `criu-job@${job.name}.service`;
    const release = await held(job);
    try {
      run('systemctl', 'stop', '--no-block', unit);
      const stops = `^(/usr/bin/node (-[^ ]+ )*)?[^ ]*criuctl suspend --in-unit ${job.name}$`;
      await eventually('criuctl waits for the lock', () => Boolean(job.run.stopped));
      run('pkill', '--signal', 'KILL', '--full', stops);
    } finally {
      release();
    }
    await eventually('the unit has stopped', () => !succeeds('systemctl', 'is-active', unit) && isDown(unit));
    assert.equal(job.now.state, 'interrupted');
    assert.ok(succeeds('systemctl', 'is-enabled', unit));
    must(job.ask('run', ...job.steps()));
    assert.equal(job.now.from, 1);
    await job.letEnd();
    assert.equal(job.ask('wait').status, 0);
    job.assertWhole();
  });

  it('by Ctrl-C in its first start says that the start goes on, and so it does', async () => {
    const job = new TestJob('root');
    const unit = `criu-job@${job.name}.service`;
    const goes = join(directoryOf('root'), 'goes');
    const dropIn = `/run/systemd/system/${unit}.d`;
    mkdirSync(dropIn, { recursive: true });
    const pause = `/bin/sh -c 'until [ -e ${goes} ]; do sleep 0.05; done'`;
    writeFileSync(join(dropIn, 'test.conf'), `[Service]\nExecStartPre=${pause}\n`);
    run('systemctl', 'daemon-reload');
    try {
      const argv = ['run', job.name, ...job.steps()];
      const starts = spawn('criuctl', argv, {
        detached: true,
        stdio: ['ignore', 'ignore', 'pipe'],
        cwd: '/',
      });
      let said = '';
      starts.stderr.on('data', (bytes) => {
        said += bytes;
      });
      const end = exited(starts);
      await eventually('its unit starts', () => activity(unit) === 'activating');
      // As a terminal does, to its whole process group.
      process.kill(-starts.pid!, 'SIGINT');
      assert.equal(await end, 130, said);
      assert.match(said, /The start of job .* goes on/);
      assert.ok(succeeds('systemctl', 'is-enabled', unit));
      writeFileSync(goes, '');
      await eventually('its unit has started', () => activity(unit) === 'active');
      assert.equal(job.now.state, 'running');
    } finally {
      writeFileSync(goes, '');
      rmSync(dropIn, { recursive: true });
      run('systemctl', 'daemon-reload');
    }
  });

  it('by SIGTERM while the lock of its last run is still held leaves the signal to the job', async () => {
    const job = new TestJob('root', true);
    const command = ['--foreground', ...job.steps()];
    const end = exited(job.start('run', ...command));
    await eventually('it writes', () => job.lines > 3);
    process.kill(job.run.pid, 'SIGKILL');
    assert.equal(await end, 1);
    const watch = join(job.path, 'watch');
    const claim = spawn('flock', [watch, claimProgram, join(job.path, 'root')], {
      stdio: ['pipe', 'ignore', 'inherit'],
    });
    await eventually('the lock is held', () => !succeeds('flock', '--nonblock', watch, 'true'));
    const trace = join(directoryOf('root'), 'trace');
    const criuctl = ['criuctl', 'run', job.name, '--dir', job.home, ...command];
    // It stands still once it has found the lock held, so that its patience is not measured.
    const strace = [
      '-o',
      trace,
      '-P',
      watch,
      '-e',
      'trace=flock',
      '-e',
      'inject=flock:signal=SIGSTOP:when=1',
    ];
    const stays = spawn('strace', [...strace, ...criuctl], {
      stdio: ['ignore', 'ignore', 'inherit'],
      cwd: '/',
    });
    const left = exited(stays);
    const isStopped = (): boolean =>
      existsSync(trace) && /EAGAIN.*stopped by SIGSTOP/s.test(readFileSync(trace, 'utf8'));
    await eventually('criuctl has found the lock held', isStopped);
    const [waiting] = childrenOf(stays.pid!);
    process.kill(waiting!, 'SIGTERM');
    claim.stdin!.end();
    await eventually('the lock is free', () => succeeds('flock', '--nonblock', watch, 'true'));
    process.kill(waiting!, 'SIGCONT');
    assert.equal(await left, 128 + 15);
    assert.equal(readFileSync(join(job.path, 'end'), 'utf8'), 'killed 15\n');
    assert.equal(job.now.state, 'finished');
  });

  it('by SIGKILL in a removal, before the link to its directory was taken along, is removed by the next', async () => {
    const job = new TestJob('root');
    must(job.ask('run', '--', '/bin/true'));
    assert.equal(job.ask('wait').status, 0);
    const place = directoryOf('root');
    run('mv', job.path, join(place, job.name));
    symlinkSync(join(place, job.name), job.path);
    const inject = ['-e', 'trace=unlink', '-e', 'inject=unlink:signal=SIGKILL'];
    const argv = ['-f', '-qq', '-o', '/dev/null', '-P', job.path, ...inject, 'criuctl', 'remove', job.name];
    assert.notEqual(spawnSync('strace', argv).status, 0);
    assert.ok(lstatSync(job.path).isSymbolicLink());
    assert.equal(existsSync(job.path), false);
    must(job.ask('remove'));
    assert.equal(lstatSync(job.path, { throwIfNoEntry: false }), undefined);
    assert.deepEqual(readdirSync(place), []);
  });

  it('by a failure keeps the images in the making, and the lock, until the job is traced no more', async () => {
    const job = await started();
    const { pid } = job.run;
    const aside = join(job.path, 'checkpoints', '.new-1');
    const status = `/proc/${pid}/status`;
    const trace = join(directoryOf('root'), 'trace');
    const said = (): string => (existsSync(trace) ? readFileSync(trace, 'utf8') : '');
    const looks = (): number => said().split(status).length;
    // It stands still with a directory for the images, and before the request.
    const inject = ['-e', 'trace=/^(mkdir|open)', '-e', 'inject=/^mkdir:signal=SIGSTOP'];
    const argv = ['-o', trace, '-P', aside, '-P', status, ...inject, 'criuctl', 'checkpoint', job.name];
    const asks = spawn('strace', argv, { stdio: 'ignore' });
    const end = exited(asks);
    await eventually('it stands still', () => said().includes('stopped by SIGSTOP'));
    // As CRIU does that works on after a request is lost: it is the only tracer, so the dump fails.
    const tracer = spawn('strace', ['-p', `${pid}`, '-o', '/dev/null'], { stdio: 'ignore' });
    await eventually('the job is traced', () => statusLine(pid, 'TracerPid') !== '0');
    const before = looks();
    process.kill(childrenOf(asks.pid!)[0]!, 'SIGCONT');
    await eventually('criuctl waits', () => looks() > before + 50 || asks.exitCode !== null);
    assert.equal(asks.exitCode, null);
    assert.ok(existsSync(aside));
    assert.ok(!succeeds('flock', '--nonblock', join(job.path, 'lock'), 'true'));
    tracer.kill('SIGTERM');
    assert.notEqual(await end, 0);
    assert.deepEqual(readdirSync(join(job.path, 'checkpoints')), []);
    await job.goesOn();
    must(job.ask('suspend'));
  });

  it('has what the job had written on the disk before a checkpoint is complete', async () => {
    const job = await started();
    const argv = ['-f', '-qq', '-y', '-e', 'trace=fsync,rename', 'criuctl', 'checkpoint', job.name];
    const { status, stderr } = spawnSync('strace', argv, { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    const synced = stderr.indexOf(`<${join(job.path, 'stdout')}>)`);
    const named = stderr.indexOf(`${join(job.path, 'checkpoints', '1')}")`);
    assert.ok(synced > 0 && synced < named, stderr);
    must(job.ask('suspend'));
  });

  it('that stays in the foreground leaves with the status of the job, also if the reader of its output has gone', async () => {
    const job = new TestJob('root', true);
    const stays = job.piped('run', '--foreground', ...job.steps(9));
    const end = exited(stays);
    await new Promise((resolve) => stays.stdout!.once('data', resolve));
    stays.stdout!.destroy();
    for (let more = 0; more < 5; more += 1) await job.goesOn();
    await job.letEnd();
    assert.equal(await end, 9);
    job.assertWhole();
  });
});

describe('a job whose record cannot be written', () => {
  withJobsOf('root');

  it('does not run on unseen: it is ended as a whole, and goes on from its checkpoint once there is room', async () => {
    const job = await started();
    const { pid } = job.run;
    must(job.ask('suspend'));
    await eventually('its pid is free', () => isFree(pid));
    // As on a full disk, the file in the making cannot be written.
    const inTheWay = join(job.path, 'run.json.new');
    mkdirSync(inTheWay);
    assert.notEqual(job.ask('run', ...job.steps()).status, 0);
    await eventually('its pid is free', () => isFree(pid));
    assert.deepEqual(executing(join(job.path, 'root')), []);
    assert.equal(job.now.state, 'suspended');
    rmSync(inTheWay, { recursive: true });
    must(job.ask('run', ...job.steps()));
    await job.letEnd();
    assert.equal(job.ask('wait').status, 0);
    job.assertWhole();
  });
});

/** The processes that execute a file. */
function executing(path: string): string[] {
  return list('/proc').filter((name) => /^\d+$/.test(name) && link(`/proc/${name}/exe`) === path);
}

describe('a job of root’s', () => {
  withJobsOf('root');

  it('is refused in a directory of another user’s, whose program root would execute', () => {
    const home = directoryOf('root', 0o755);
    const path = join(home, 'planted');
    const refused = (verb: string, ...command: string[]): void => {
      const { status, stderr } = criuctl(verb, 'planted', '--foreground', '--dir', home, ...command);
      assert.notEqual(status, 0);
      assert.match(stderr, /belongs to another user/);
    };
    run('install', '-d', '-o', 'alice', '-g', 'alice', path);
    refused('run', '--', '/bin/true');
    assert.deepEqual(readdirSync(path), []);
    writeFileSync(join(path, 'job.json'), '{}');
    refused('resume');
    return Promise.resolve();
  });

  /** A job that writes lines to a file of its own. */
  async function writing(): Promise<{ readonly job: TestJob; readonly out: string }> {
    const job = new TestJob('root');
    const out = join(directoryOf('root'), 'out');
    const program = `
import os, sys, time
out = open(sys.argv[1], "w")
while not os.path.exists(sys.argv[2]):
    out.write("line\\n"); out.flush(); time.sleep(0.05)
`;
    must(job.ask('run', '--', '/usr/bin/python3', '-c', program, out, job.endFile));
    await eventually('it writes', () => existsSync(out) && statSync(out).size > 20);
    return { job, out };
  }

  it('whose file has grown names --restore-files, with which it is resumed in its unit', async () => {
    const { job, out } = await writing();
    const { pid } = job.now;
    must(job.ask('suspend'));
    appendFileSync(out, 'what somebody else has written');
    const refused = job.ask('resume');
    assert.notEqual(refused.status, 0);
    const way = `from checkpoint 1: criuctl resume ${job.name} --restore-files`;
    assert.match(
      refused.stderr,
      new RegExp(`out has \\d+ bytes, and had \\d+ bytes at the dump; .*${way}\n`),
    );
    must(job.ask('resume', '--restore-files'));
    assert.deepEqual([job.now.state, job.now.pid], ['running', pid]);
    writeFileSync(job.endFile, '');
    assert.equal(job.ask('wait').status, 0);
    assert.match(readFileSync(out, 'utf8'), /^(line\n)+$/);
    assert.equal(isAlive(pid!), false);
  });

  it('whose file is shorter than at its checkpoint names the older one that fits, and takes it only if it is told to', async () => {
    const { job, out } = await writing();
    must(job.ask('checkpoint'));
    const { files } = JSON.parse(readFileSync(join(job.path, 'checkpoints', '1', 'files.json'), 'utf8'));
    const { size } = files.find(({ path }: { readonly path: string }) => path === out);
    await eventually('it writes on', () => statSync(out).size > size + 20);
    must(job.ask('suspend'));
    const whole = readFileSync(out);
    truncateSync(out, size);
    const refused = job.ask('resume');
    assert.notEqual(refused.status, 0);
    const way = `from checkpoint 1: criuctl resume ${job.name} --from 1`;
    assert.match(refused.stderr, new RegExp(`out has ${size} bytes, and had ${whole.length} .*; .*${way}\n`));
    assert.deepEqual([job.now.state, job.now.latest], ['suspended', 2]);
    must(job.ask('resume', '--from', '1'));
    assert.deepEqual([job.now.state, job.now.from], ['running', 1]);
    await eventually('it writes on', () => statSync(out).size > size + 20);
    writeFileSync(job.endFile, '');
    assert.equal(job.ask('wait').status, 0);
    assert.match(readFileSync(out, 'utf8'), /^(line\n)+$/);
  });
});
