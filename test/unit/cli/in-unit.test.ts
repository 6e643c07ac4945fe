/** The start of a job in a unit, with a systemctl that acts as its test says. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { Job } from '../../../src/job/job.ts';
import { specFormat } from '../../../src/job/spec.ts';

/** Only ends a test that hangs. */
const mostTries = 6000;

describe('the start of a job in a unit', () => {
  let place: string;
  let home: string;
  const at = (name: string): string => join(place, name);
  beforeEach(() => {
    place = realpathSync(mkdtempSync(join(tmpdir(), 'criuctl-in-unit-')));
    home = at('jobs');
    mkdirSync(home);
    Job.make(home, 'sim').writeSpec({
      format: specFormat,
      name: 'sim',
      program: '/bin/true',
      command: ['true'],
      directory: '/',
      umask: 0o22,
      stdin: undefined,
      every: undefined,
      keep: 3,
      restoreFiles: false,
      pty: false,
    });
  });
  afterEach(() => rmSync(place, { recursive: true }));

  /** @param cases of sh(1), by the command of systemctl. */
  function systemctl(cases: Readonly<Record<string, string>>): void {
    mkdirSync(at('bin'));
    const branches = Object.entries(cases).map(([verb, script]) => `${verb}) ${script};;`);
    const script = [
      '#!/bin/sh',
      `cd ${place}`,
      'all=$*',
      'while case $1 in --*) true;; *) false;; esac; do shift; done',
      `case $1 in ${branches.join('\n')} esac`,
      'status=$?',
      // Once it is done: a request that was cut off leaves no line.
      'echo "$1" >>asked',
      'exit $status',
    ];
    writeFileSync(at('bin/systemctl'), `${script.join('\n')}\n`);
    chmodSync(at('bin/systemctl'), 0o755);
  }

  const asked = (): readonly string[] =>
    existsSync(at('asked')) ? readFileSync(at('asked'), 'utf8').trimEnd().split('\n') : [];
  /** The script says that it is there, and waits for its test. */
  const waits = 'touch reached; until [ -e goes ] || [ ! -e bin ]; do sleep 0.05; done';

  async function eventually(holds: () => boolean): Promise<void> {
    for (let tries = 0; !holds(); tries += 1) {
      if (tries === mostTries) assert.fail('it never came');
      await delay(10);
    }
  }

  /** In a process group of its own, as at a terminal. */
  function start(): { readonly child: ChildProcess; readonly said: Promise<Record<string, unknown>> } {
    const program = join(import.meta.dirname, 'support', 'start-in-unit.ts');
    const child = spawn(process.execPath, ['--import=tsx', program, home], {
      detached: true,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, PATH: `${at('bin')}:${process.env.PATH}` },
    });
    return { child, said: text(child.stdout!).then((json) => JSON.parse(json)) };
  }

  for (const request of ['enable', 'reset-failed', 'start'])
    it(`that is interrupted by Ctrl-C in its request ${request} goes on, and the job stays enabled`, async () => {
      systemctl({ [request]: waits });
      const { child, said } = start();
      await eventually(() => existsSync(at('reached')));
      process.kill(-child.pid!, 'SIGINT');
      if (request === 'start')
        assert.match(String((await said).message), /The start of job sim goes on, and is not waited for/);
      writeFileSync(at('goes'), '');
      assert.deepEqual(await said, {
        exitCode: 130,
        message: 'The start of job sim goes on, and is not waited for',
      });
      await eventually(() => asked().includes('start'));
      assert.deepEqual(asked(), ['enable', 'reset-failed', 'start']);
    });

  it('is waited for after a SIGTERM, which comes too late', async () => {
    systemctl({ start: waits });
    const { child, said } = start();
    await eventually(() => existsSync(at('reached')));
    child.kill('SIGTERM');
    writeFileSync(at('goes'), '');
    assert.equal((await said).exitCode, 0);
    assert.deepEqual(asked(), ['enable', 'reset-failed', 'start']);
  });

  for (const [where, cases] of [
    ['its unit is activating', { show: 'echo activating' }],
    [
      'it waits for other units',
      { show: 'echo inactive', 'list-jobs': 'echo "47 criu-job@sim.service start waiting"' },
    ],
  ] as const)
    it(`whose request has failed while ${where} goes on, and the job stays enabled`, async () => {
      systemctl({ start: 'false', ...cases });
      const { exitCode, message } = await start().said;
      assert.equal(exitCode, 1);
      assert.match(String(message), /The start of job sim goes on, and is not waited for/);
      assert.ok(!asked().includes('disable'));
    });

  it('whose request has failed after it was done is a success', async () => {
    systemctl({ start: 'false', show: 'echo active' });
    assert.equal((await start().said).exitCode, 0);
    assert.ok(!asked().includes('disable'));
  });

  it('that has failed leaves a new job disabled, also while its stop is queued', async () => {
    systemctl({
      start: 'false',
      show: 'case $all in *Result*) echo exit-code;; *) echo failed;; esac',
      'list-jobs': 'echo "48 criu-job@sim.service stop waiting"',
    });
    const { exitCode, message } = await start().said;
    assert.equal(exitCode, 1);
    assert.match(String(message), /could not be started: systemd says exit-code/);
    assert.equal(asked().filter((verb) => verb === 'disable').length, 1);
  });
});
