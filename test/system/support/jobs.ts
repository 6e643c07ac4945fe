/** Jobs of criuctl run, and the computation that they do (clients/steps.py). */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { unshackled } from '../../hostile/support/images.ts';
import { as, directoryOf, type User, uids } from '../../hostile/support/people.ts';
import { commandMs, eventually, inVm, run, script } from './bench.ts';
import type { Ended } from './criuctl.ts';
import { endProcess, isAlive } from './proc.ts';
import { withSettings } from './settings.ts';

const runtimeDirectory = (user: User): string => `XDG_RUNTIME_DIR=/run/user/${uids[user]}`;

/** A container's bounding set lacks capabilities, and without root only processes with no_new_privs can be restored there. */
const settings = '/etc/systemd/user/criu-job@.service.d';

/** To be called in the body of a suite. In a container the caller has no_new_privs, too. */
export function withJobsOf(user: User): void {
  if (!inVm && user !== 'root')
    withSettings('ExecStart=', 'ExecStart=/usr/lib/criu-service/criu-service --allow-no-new-privs');
  before(() => startManagerFor(user));
  after(() => stopManagerOf(user));
  afterEach(endJobs);
}

function startManagerFor(user: User): void {
  if (user === 'root') return;
  if (!inVm) {
    mkdirSync(settings, { recursive: true });
    writeFileSync(join(settings, 'bench.conf'), '[Service]\nNoNewPrivileges=yes\n');
  }
  run('systemctl', 'start', `user@${uids[user]}.service`);
}

function stopManagerOf(user: User): void {
  if (user === 'root') return;
  run('systemctl', 'stop', `user@${uids[user]}.service`);
  rmSync(settings, { recursive: true, force: true });
}

export interface State {
  readonly job: string;
  readonly state: string;
  readonly pid: number | null;
  readonly from: number | null;
  readonly status: number | null;
  readonly checkpoints: readonly number[];
  readonly latest: number | null;
  readonly failure: string | null;
  readonly directory: string;
}

let names = 0;

function homeOf(user: User): string {
  if (user === 'root') return '/var/lib/criu';
  const home = run('getent', 'passwd', user).split(':')[5]!;
  if (!existsSync(home)) run('install', '-d', '-o', user, '-g', user, home);
  return join(home, '.local', 'state', 'criu');
}

/** A job of a user's in a directory of jobs of its own. */
export class TestJob {
  readonly name: string;
  readonly user: User;
  readonly home: string;
  readonly #foreground: boolean;
  #end: string | undefined;

  /** @param foreground in a directory of jobs of its own. */
  constructor(user: User, foreground = false, name = `job-${process.pid}-${++names}`) {
    this.name = name;
    this.user = user;
    this.#foreground = foreground;
    this.home = foreground ? directoryOf(user, 0o700) : homeOf(user);
    made.push(this);
  }

  get path(): string {
    return join(this.home, this.name);
  }

  /** The beginning of a command of the user's, with what a login has in its environment. */
  get login(): string[] {
    const { user } = this;
    return [...as(user, ...(user === 'root' ? [] : unshackled())), 'env', runtimeDirectory(user)];
  }

  #command(verb: string, argv: readonly string[]): [string, ...string[]] {
    const dir = this.#foreground ? ['--dir', this.home] : [];
    const name = verb === 'jobs' ? [] : [this.name];
    const [file, ...rest] = [...this.login, 'criuctl', verb, ...name, ...dir, ...argv];
    return [file!, ...rest];
  }

  ask(verb: string, ...argv: string[]): Ended {
    const [file, ...rest] = this.#command(verb, argv);
    const { status, stdout, stderr } = spawnSync(file, rest, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: '/',
      timeout: commandMs,
      killSignal: 'SIGKILL',
    });
    return { status, stdout, stderr };
  }

  start(verb: string, ...argv: string[]): ChildProcess {
    const [file, ...rest] = this.#command(verb, argv);
    return spawn(file, rest, { stdio: ['ignore', 'ignore', 'inherit'], cwd: '/' });
  }

  /** Its standard output is a pipe of the test's. */
  piped(verb: string, ...argv: string[]): ChildProcess {
    const [file, ...rest] = this.#command(verb, argv);
    return spawn(file, rest, { stdio: ['ignore', 'pipe', 'inherit'], cwd: '/' });
  }

  get now(): State {
    const { stdout, stderr, status } = this.ask('jobs', '--json');
    assert.equal(status, 0, stderr);
    const { jobs } = JSON.parse(stdout) as { readonly jobs: readonly State[] };
    const found = jobs.find(({ job }) => job === this.name);
    assert.ok(found, stdout);
    return found;
  }

  get run(): { readonly pid: number; readonly stopped?: true } {
    return JSON.parse(readFileSync(join(this.path, 'run.json'), 'utf8'));
  }

  /** Everything that the job has written. */
  get output(): string {
    const file = join(this.path, 'stdout');
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  }

  get lines(): number {
    return this.output.split('\n').length - 1;
  }

  /** The file with which its command ends: however slow the machine is, no command ends before its test wants it to. */
  get endFile(): string {
    this.#end ??= join(directoryOf(this.user), 'end');
    return this.#end;
  }

  /** A command that takes steps until {@link letEnd}. */
  steps(status = 0): string[] {
    return [...steps(1_000_000, 0.05, status), this.endFile];
  }

  /** Once it has gone on. */
  async letEnd(): Promise<void> {
    await this.goesOn();
    writeFileSync(this.endFile, '');
  }

  /** It has written what an uninterrupted run of as many steps writes. */
  assertWhole(): void {
    assert.ok(this.lines > 0);
    assert.equal(this.output, outputOf(this.lines));
  }

  async goesOn(): Promise<void> {
    const before = this.lines;
    await eventually('the job writes its next lines', () => this.lines > before + 1);
  }

  end(): void {
    const pid = existsSync(join(this.path, 'run.json'))
      ? (JSON.parse(readFileSync(join(this.path, 'run.json'), 'utf8')) as { readonly pid: number }).pid
      : undefined;
    if (pid !== undefined && isAlive(pid)) endProcess(pid);
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** For jobs that outlive this boot: what the tests of a suite have for themselves, for good. */
export function prepareForJobs(user: User): void {
  if (!inVm) {
    const service = '/etc/systemd/system/criu.service.d';
    mkdirSync(service, { recursive: true });
    const start = '/usr/lib/criu-service/criu-service --allow-no-new-privs';
    writeFileSync(join(service, 'jobs.conf'), `[Service]\nExecStart=\nExecStart=${start}\n`);
    run('systemctl', 'daemon-reload');
    run('systemctl', 'stop', 'criu.service');
  }
  run('loginctl', 'enable-linger', user);
  startManagerFor(user);
}

const made: TestJob[] = [];

function endJobs(): void {
  for (const job of made.splice(0)) job.end();
}

export const steps = (number: number, pause: number, status = 0): string[] => [
  '--',
  '/usr/bin/python3',
  script('steps.py'),
  `${number}`,
  `${pause}`,
  `${status}`,
];

/** What an uninterrupted run writes. */
export function outputOf(number: number): string {
  let digest = Buffer.alloc(0);
  let text = '';
  for (let step = 0; step < number; step += 1) {
    digest = createHash('sha256').update(digest).update(`${step}`).digest();
    text += `${step} ${digest.toString('hex')}\n`;
  }
  return text;
}
