/**
 * A job: a directory with its request, its logs and its checkpoints. Everything in it can be read with cat and removed with
 * rm; its state follows from its files and /proc, so nothing has to be kept in step.
 *
 *     job.json  environment   its request
 *     root                    the root of its tree, criu-job-root, copied so that an upgrade leaves it the same
 *     stdout  stderr          its output
 *     run.json  end           the process of its last start or resume; the end of its command
 *     checkpoints/N  latest   complete checkpoints, and a link to the checkpoint that a resume takes
 *     failure                 the reason why the last checkpoint or resume has failed
 *     lock  watch             locks of operations, and of the criuctl that watches it in the foreground, or its tree
 */
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { nextNumber, numbersOf } from './checkpoints.ts';
import { type End, parseEnd } from './end.ts';
import { isEndBy } from './ended-by.ts';
import { pointTo, readIfThere, removeIfThere, writeWhole } from './files.ts';
import { type FileLock, type Lock, lock, tryToLock } from './lock.ts';
import { faultOfName } from './name.ts';
import { parseRun, type RunRecord, whereIs } from './run-record.ts';
import { type JobSpec, parseSpec } from './spec.ts';
import { type JobFacts, type JobState, stateOf } from './state.ts';

/** Beside the images of a checkpoint, written before them. */
export interface CheckpointNote {
  readonly format: 1;
  readonly number: number;
  /** It ends the job's processes. */
  readonly ends: boolean;
  /** Options of a RESTORE that it needs. */
  readonly restore: Readonly<Record<string, unknown>>;
}

/** SIGTERM, and SIGKILL after a time (KillMode=mixed of systemd.kill(5)). */
const signalsOfStop: ReadonlySet<number> = new Set([9, 15]);

/** What a run that ended before its job.json has left. */
const begun: ReadonlySet<string> = new Set([
  'checkpoints',
  'environment',
  'environment.new',
  'job.json.new',
  'lock',
]);

const noteName = 'checkpoint.json';

/** No name of a job begins so. Directories that a killed removal has left go with the next. */
const removedPrefix = '.removed-';
const removed = /^\.removed-[A-Za-z0-9][A-Za-z0-9_.-]*\.\d+$/;

function removedOf(name: string): RegExp {
  return new RegExp(`^\\${removedPrefix}${name.replaceAll('.', '\\.')}\\.\\d+$`);
}

export class Job {
  readonly name: string;
  /** Without links: paths in images lead there. */
  readonly path: string;

  /**
   * @param trusted it may be another user's.
   * @returns undefined if there is no such job.
   * @throws Error of node:fs, or for a job of another user's.
   */
  static find(home: string, name: string, trusted = false): Job | undefined {
    const path = join(home, name);
    if (!existsSync(join(path, 'job.json'))) return undefined;
    const real = realpathSync(path);
    if (!trusted) requireOwn(real);
    return new Job(name, real);
  }

  /** Makes its directory, empty so far. @throws Error of node:fs, or for a directory with files of others': a job is removed as a whole. */
  static make(home: string, name: string, trusted = false): Job {
    Job.finishRemoval(home, name);
    const path = join(home, name);
    const others = existsSync(path) ? readdirSync(path).filter((each) => !begun.has(each)) : [];
    if (others.length > 0) throw new Error(`${path} has other files than a job's, as ${others[0]}`);
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const real = realpathSync(path);
    if (!trusted) requireOwn(real);
    chmodSync(real, 0o700);
    mkdirSync(join(real, 'checkpoints'), { recursive: true, mode: 0o700 });
    return new Job(name, real);
  }

  /**
   * A removal that was killed may leave a link to the place that its directory had, with the directory beside that place. A link to nothing else
   * is left alone: a file system is perhaps mounted later.
   * @returns true if there was such a removal.
   */
  static finishRemoval(home: string, name: string): boolean {
    const link = join(home, name);
    if (existsSync(link) || !isLink(link)) return false;
    const place = dirname(targetOf(link));
    const left = leftIn(place, removedOf(name));
    if (left.length === 0) return false;
    for (const each of left) empty(each);
    removeIfThere(link);
    for (const each of left) rmSync(each, { recursive: true, force: true });
    return true;
  }

  /** @returns the names of all jobs. */
  static names(home: string): string[] {
    try {
      return readdirSync(home)
        .filter((name) => faultOfName(name) === undefined && existsSync(join(home, name, 'job.json')))
        .sort();
    } catch {
      return [];
    }
  }

  /** The watch lock is this object's: no other process can hold it. */
  #watchedHere = false;

  private constructor(name: string, path: string) {
    this.name = name;
    this.path = path;
  }

  at(...names: string[]): string {
    return join(this.path, ...names);
  }

  /** For the time of an operation. */
  lock(signal?: AbortSignal): Promise<Lock> {
    return lock(this.at('lock'), signal);
  }

  /** Its state after the operation in flight: a checkpoint that has ended its process gets its name a moment later. */
  async settledState(signal?: AbortSignal): Promise<JobState> {
    (await this.lock(signal)).release();
    return this.state;
  }

  /** For as long as a criuctl watches it, or its tree lives. @returns undefined if another process has the lock. */
  watch(): FileLock | undefined {
    const lock = tryToLock(this.at('watch'));
    if (!lock) return undefined;
    this.#watchedHere = true;
    return {
      ...lock,
      release: () => {
        this.#watchedHere = false;
        lock.release();
      },
    };
  }

  // The request

  get spec(): JobSpec | undefined {
    const text = readIfThere(this.at('job.json'));
    return text === undefined ? undefined : parseSpec(text);
  }

  writeSpec(spec: JobSpec): void {
    writeWhole(this.at('job.json'), `${JSON.stringify(spec, undefined, 2)}\n`);
  }

  get environment(): readonly string[] {
    return (readIfThere(this.at('environment')) ?? '').split('\0').filter((entry) => entry !== '');
  }

  writeEnvironment(environment: NodeJS.ProcessEnv): void {
    const entries = Object.entries(environment).map(([name, value]) => `${name}=${value}\0`);
    writeWhole(this.at('environment'), entries.join(''));
  }

  /** @param program criu-job-root. */
  placeRoot(program: string): string {
    const root = this.at('root');
    if (!existsSync(root)) writeWhole(root, readFileSync(program), 0o700);
    return root;
  }

  // The run

  get run(): RunRecord | undefined {
    const text = readIfThere(this.at('run.json'));
    return text === undefined ? undefined : parseRun(text);
  }

  /** The machine of its last run is gone. */
  forgetRun(): void {
    removeIfThere(this.at('run.json'));
  }

  /**
   * Before a start or resume: the end of the last run would be taken for that of the next, and so would its stop, by which no end counts.
   * A run that ends at once leaves no record of its own.
   */
  forgetEnd(): void {
    // Before the stop, without which it would count.
    removeIfThere(this.at('end'));
    const { run } = this;
    if (run?.stopped) this.writeRun({ ...run, stopped: undefined });
  }

  writeRun(run: RunRecord): void {
    writeWhole(this.at('run.json'), `${JSON.stringify(run, undefined, 2)}\n`);
  }

  /** Of the command's own accord. */
  get end(): End | undefined {
    const text = readIfThere(this.at('end'));
    const end = text === undefined ? undefined : parseEnd(text);
    return end && this.run?.stopped && isEndBy(end, signalsOfStop) ? undefined : end;
  }

  /** Before a stop of its unit, which may not suspend it. */
  noteStop(): void {
    const { run } = this;
    if (run) this.writeRun({ ...run, stopped: true });
  }

  get failure(): string | undefined {
    return readIfThere(this.at('failure'))?.trimEnd() || undefined;
  }

  /** A failure that cannot be noted, as on a full disk, is told by its operation all the same. */
  noteFailure(sentence: string | undefined): void {
    try {
      if (sentence === undefined) removeIfThere(this.at('failure'));
      else writeWhole(this.at('failure'), `${sentence}\n`);
    } catch {}
  }

  get state(): JobState {
    return stateOf(this.#facts());
  }

  #facts(): JobFacts {
    const run = this.run;
    // Before its end is read: the root of the tree leaves the end, and then exits.
    const process = run && whereIs(run);
    const latest = this.latest;
    return {
      run: run && {
        process: process!,
        pid: run.pid,
        host: run.host,
        from: run.from,
        mayRunElsewhere: process === 'on-another-machine' && (!run.watched || this.#isWatchedByAnother()),
      },
      end: this.end,
      checkpoint:
        latest === undefined ? undefined : { number: latest, ended: this.noteOf(latest)?.ends ?? false },
    };
  }

  #isWatchedByAnother(): boolean {
    if (this.#watchedHere) return false;
    const taken = this.watch();
    taken?.release();
    return taken === undefined;
  }

  // Checkpoints

  get checkpointNames(): string[] {
    return readdirSync(this.at('checkpoints'));
  }

  get checkpoints(): number[] {
    return numbersOf(this.checkpointNames);
  }

  get nextCheckpoint(): number {
    return nextNumber(this.checkpointNames);
  }

  checkpoint(number: number): string {
    return this.at('checkpoints', `${number}`);
  }

  /** The number that the link names, if that checkpoint is there; else the highest. */
  get latest(): number | undefined {
    const numbers = this.checkpoints;
    try {
      const number = Number(basename(readlinkSync(this.at('latest'))));
      if (numbers.includes(number)) return number;
    } catch {
      // No checkpoint was completed yet, or the link was removed.
    }
    return numbers.at(-1);
  }

  set latest(number: number) {
    pointTo(join('checkpoints', `${number}`), this.at('latest'));
  }

  noteOf(number: number): CheckpointNote | undefined {
    return readNote(this.checkpoint(number));
  }

  /** The checkpoint whose memory this one leaves out, by CRIU's link. */
  readonly parentOf = (number: number): number | undefined => {
    try {
      return numbersOf([basename(readlinkSync(join(this.checkpoint(number), 'parent')))])[0];
    } catch {
      return undefined;
    }
  };

  /** When a checkpoint was complete, in milliseconds of the epoch. */
  timeOf(number: number): number | undefined {
    return statSync(join(this.checkpoint(number), 'inventory.img'), { throwIfNoEntry: false })?.mtimeMs;
  }

  /**
   * Under its lock. Nothing is written into it while its files are removed. If its name is a link, the link goes after the files and before the
   * directory: a removal that is killed leaves both, or an empty directory.
   * @param home the directory of its jobs, where its name may be a link to a directory elsewhere.
   */
  remove(home: string): void {
    const place = dirname(this.path);
    const aside = join(place, `${removedPrefix}${this.name}.${process.pid}`);
    renameSync(this.path, aside);
    empty(aside);
    const link = join(home, this.name);
    if (isLink(link)) removeIfThere(link);
    // Elsewhere, the leftovers of other jobs are for those who have them in a directory of jobs.
    rmSync(aside, { recursive: true, force: true });
    for (const each of [...leftIn(home, removed), ...leftIn(place, removedOf(this.name))])
      removeLeftover(each);
  }
}

function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
}

/** As realpath(3), also if nothing is there. */
function targetOf(link: string): string {
  const mostLinks = 40;
  let path = link;
  for (let links = 0; isLink(path) && links < mostLinks; links += 1)
    path = resolve(dirname(path), readlinkSync(path));
  return path;
}

/**
 * Directories that killed removals have left, if they are this user's: in a place where others may write, others can give their
 * directories such names, and swap what is in them.
 */
function leftIn(place: string, names: RegExp): string[] {
  if (!existsSync(place)) return [];
  return readdirSync(place)
    .filter((name) => names.test(name))
    .map((name) => join(place, name))
    .filter((path) => {
      const stats = lstatSync(path, { throwIfNoEntry: false });
      return stats?.isDirectory() && stats.uid === process.geteuid!();
    });
}

/** @throws Error of node:fs: images are secrets, and what stays is told. */
function empty(directory: string): void {
  for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true, force: true });
}

function removeLeftover(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    // Another criuctl removes it at the same time.
  }
}

/** Files of a job say what its user executes. @throws Error */
function requireOwn(path: string): void {
  if (statSync(path).uid !== process.geteuid!())
    throw new Error(`${path} belongs to another user, whose program would run as you`);
}

export function writeNote(directory: string, note: CheckpointNote): void {
  writeWhole(join(directory, noteName), `${JSON.stringify(note)}\n`);
}

export function readNote(directory: string): CheckpointNote | undefined {
  try {
    const note = JSON.parse(readIfThere(join(directory, noteName)) ?? '') as CheckpointNote;
    return note.format === 1 && typeof note.ends === 'boolean' && typeof note.restore === 'object'
      ? note
      : undefined;
  } catch {
    return undefined;
  }
}
