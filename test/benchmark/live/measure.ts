/**
 * Measures checkpoints of a program that changes a part of its memory between them: full ones, incremental ones, live ones, and restores
 * from chains; by the `criu` command as root, and by criuctl as a user without root. Runs as root in a machine of the bench, whose kernel
 * tracks memory, and leaves live.json. Judges nothing.
 */
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readDumpStatistics } from '../../../src/client/statistics.ts';
import type { Counts, LiveResults, Sample, Way } from './results.ts';

const [payload = '.', out = '.'] = process.argv.slice(2);
const counts: Counts = JSON.parse(readFileSync(join(payload, 'counts.json'), 'utf8'));
const images = '/images';
const percents = [1, 10, 50];
/** Of the writes of a second. */
const parts = 20;
const samples: Sample[] = [];
const failures: string[] = [];

const asAlice = ['setpriv', '--reuid=alice', '--regid=alice', '--init-groups', '--inh-caps=-all', '--'];

function say(text: string): void {
  console.log(`bench: ${text}`);
}

/** @returns the milliseconds that the command took. @throws Error if it fails. */
function timed(argv: readonly string[]): number {
  const began = performance.now();
  const { status, stdout, stderr } = spawnSync(argv[0]!, argv.slice(1), {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const took = performance.now() - began;
  if (status !== 0) throw new Error(`${argv.join(' ')}: ${status}: ${stderr}${stdout}`);
  return took;
}

/** A program with so much memory, which works when it is told to. */
class Dirty {
  readonly pid: number;
  readonly #work: string;

  private constructor(pid: number, work: string) {
    this.pid = pid;
    this.#work = work;
  }

  static async start(way: Way, megabytes: number): Promise<Dirty> {
    const work = join(images, `work-${way}`);
    for (const file of [work, `${work}.done`]) rmSync(file, { force: true });
    const user = way === 'alice' ? asAlice : [];
    timed([...user, 'mkfifo', work]);
    const [file, ...argv] = [...user, join(payload, 'dirty'), `${megabytes}`, work];
    const child = spawn(file!, argv, { detached: true, stdio: 'ignore', cwd: '/' });
    const program = new Dirty(child.pid!, work);
    await program.#done(1);
    return program;
  }

  #results(): string[] {
    const file = `${this.#work}.done`;
    return existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [];
  }

  async #done(lines: number): Promise<void> {
    while (this.#results().length < lines) await sleep(5);
  }

  /**
   * Has it write to so many percent of its pages, or to a part of these.
   * @returns the milliseconds that the work took.
   */
  async writes(percent: number, part = 0, parts = 1): Promise<number> {
    const lines = this.#results().length;
    writeFileSync(this.#work, `${percent} ${part} ${parts}`);
    await this.#done(lines + 1);
    return Number(this.#results().at(-1)) / 1e6;
  }

  /** Has it write to so many percent of its pages in each second, in parts, until the returned function is called. */
  keepsWriting(percent: number): () => Promise<void> {
    let over = false;
    const working = (async () => {
      for (let part = 0; !over; part = (part + 1) % parts) {
        const began = performance.now();
        await this.writes(percent, part, parts);
        await sleep(Math.max(0, 1000 / parts - (performance.now() - began)));
      }
    })();
    return () => {
      over = true;
      return working;
    };
  }

  async end(): Promise<void> {
    process.kill(this.pid, 'SIGKILL');
    while (existsSync(`/proc/${this.pid}`)) await sleep(5);
  }
}

function fresh(way: Way, name: string): string {
  const directory = join(images, `${way}-${name}`);
  rmSync(directory, { recursive: true, force: true });
  timed([...(way === 'alice' ? asAlice : []), 'mkdir', directory]);
  return directory;
}

function pageBytes(directory: string): number {
  return readdirSync(directory)
    .filter((name) => /^pages-\d+\.img$/.test(name))
    .reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
}

interface Asked {
  readonly verb: 'dump' | 'pre-dump';
  readonly directory: string;
  /** Relative to the directory. */
  readonly parent?: string;
  readonly tracks?: boolean;
  readonly leavesRunning?: boolean;
}

/** @returns the milliseconds that the command took. */
function checkpoint(
  way: Way,
  pid: number,
  { verb, directory, parent, tracks, leavesRunning = true }: Asked,
): number {
  const options = [
    ...(parent === undefined ? [] : ['--prev-images-dir', parent]),
    ...(tracks ? ['--track-mem'] : []),
    ...(leavesRunning && verb === 'dump' ? ['--leave-running'] : []),
  ];
  return timed(
    way === 'alice'
      ? [...asAlice, 'criuctl', verb, `${pid}`, '-D', directory, ...options]
      : ['criu', verb, '--tree', `${pid}`, '--images-dir', directory, '--log-file', 'dump.log', ...options],
  );
}

/** Each sample is told at once, for a run that is cut off. */
function keep(sample: Sample): void {
  samples.push(sample);
  say(JSON.stringify(sample));
}

function keepDump(sample: Omit<Sample, 'frozenMs' | 'bytes'>, directory: string): void {
  const statistics = readDumpStatistics(directory);
  keep({
    ...sample,
    frozenMs: (statistics?.frozenUsec ?? Number.NaN) / 1000,
    bytes: pageBytes(directory),
  });
}

async function attempt(what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    failures.push(`${what}: ${(error as Error).message}`);
    say(failures.at(-1)!);
  }
}

/** A full checkpoint, and three on top of each other, each after a part of the memory has changed. */
async function incremental(way: Way, megabytes: number): Promise<void> {
  const program = await Dirty.start(way, megabytes);
  try {
    const full = fresh(way, 'full');
    const wallMs = checkpoint(way, program.pid, { verb: 'dump', directory: full, tracks: true });
    keepDump({ kind: 'full', way, megabytes, percent: 0, wallMs }, full);
    let before = 'full';
    for (const percent of percents) {
      await program.writes(percent);
      const directory = fresh(way, `after-${percent}`);
      const parent = `../${way}-${before}`;
      const took = checkpoint(way, program.pid, { verb: 'dump', directory, parent, tracks: true });
      keepDump({ kind: 'incremental', way, megabytes, percent, wallMs: took }, directory);
      before = `after-${percent}`;
    }
  } finally {
    await program.end();
    clear(way);
  }
}

function clear(way: Way): void {
  for (const name of readdirSync(images).filter((each) => each.startsWith(`${way}-`)))
    rmSync(join(images, name), { recursive: true });
}

/** alice's criuctl decides how many rounds there are, and the command gets as many. */
async function live(megabytes: number, percent: number): Promise<void> {
  const one = await Dirty.start('alice', megabytes);
  let rounds = 0;
  try {
    const directory = join(images, 'alice-live');
    const stop = one.keepsWriting(percent);
    const wallMs = timed([
      ...asAlice,
      'criuctl',
      'dump',
      `${one.pid}`,
      '-D',
      directory,
      '--live',
      '--leave-running',
    ]);
    await stop();
    rounds = readdirSync(directory).filter((name) => statSync(join(directory, name)).isDirectory()).length;
    keepDump({ kind: 'live', way: 'alice', megabytes, percent, wallMs, rounds }, directory);
  } finally {
    await one.end();
    clear('alice');
  }
  const other = await Dirty.start('command', megabytes);
  try {
    const stop = other.keepsWriting(percent);
    let wallMs = 0;
    for (let round = 1; round <= rounds; round += 1) {
      const parent = round === 1 ? {} : { parent: `../command-round-${round - 1}` };
      wallMs += checkpoint('command', other.pid, {
        verb: 'pre-dump',
        directory: fresh('command', `round-${round}`),
        ...parent,
        tracks: true,
      });
    }
    const directory = fresh('command', 'live');
    const parent = `../command-round-${rounds}`;
    wallMs += checkpoint('command', other.pid, { verb: 'dump', directory, parent, tracks: true });
    await stop();
    keepDump({ kind: 'live', way: 'command', megabytes, percent, wallMs, rounds }, directory);
  } finally {
    await other.end();
    clear('command');
  }
}

/** The time of a restore from so many directories, of which each but the first has one percent. */
async function chain(way: Way, megabytes: number, length: number): Promise<void> {
  const program = await Dirty.start(way, megabytes);
  let isOver = false;
  try {
    for (let at = 1; at <= length; at += 1) {
      const parent = at === 1 ? {} : { parent: `../${way}-${at - 1}` };
      if (at > 1) await program.writes(1);
      checkpoint(way, program.pid, {
        verb: 'dump',
        directory: fresh(way, `${at}`),
        ...parent,
        tracks: true,
        leavesRunning: at < length,
      });
    }
    isOver = true;
    while (existsSync(`/proc/${program.pid}`)) await sleep(5);
    const directory = join(images, `${way}-${length}`);
    const wallMs = timed(
      way === 'alice'
        ? [...asAlice, 'criuctl', 'restore', '-D', directory]
        : ['criu', 'restore', '--images-dir', directory, '--log-file', 'restore.log', '--restore-detached'],
    );
    isOver = false;
    keep({ kind: 'restore', way, megabytes, percent: 1, wallMs, rounds: length });
  } finally {
    if (!isOver) await program.end();
    clear(way);
  }
}

/** The cost of the first write to a page after its memory began to be tracked. */
async function tracking(megabytes: number): Promise<void> {
  const program = await Dirty.start('alice', megabytes);
  try {
    await program.writes(100);
    const plain = await program.writes(100);
    const directory = fresh('alice', 'tracked');
    const wallMs = checkpoint('alice', program.pid, { verb: 'pre-dump', directory, tracks: true });
    const tracked = await program.writes(100);
    const again = await program.writes(100);
    keep({ kind: 'sweep', way: 'alice', megabytes, percent: 100, wallMs: plain });
    keep({ kind: 'sweep-tracked', way: 'alice', megabytes, percent: 100, wallMs: tracked });
    keep({ kind: 'sweep-after', way: 'alice', megabytes, percent: 100, wallMs: again });
    keepDump({ kind: 'pre-dump', way: 'alice', megabytes, percent: 100, wallMs }, directory);
  } finally {
    await program.end();
    clear('alice');
  }
}

mkdirSync(images);
timed(['mount', '-t', 'tmpfs', '-o', 'size=90%', 'images', images]);
chmodSync(images, 0o1777);
for (const megabytes of counts.sizes) {
  for (let round = 0; round < counts.rounds[megabytes]!; round += 1) {
    for (const way of ['command', 'alice'] as const) {
      say(`${megabytes} MB, ${way}: full and incremental`);
      await attempt(`incremental ${way} ${megabytes}`, () => incremental(way, megabytes));
    }
    for (const percent of percents) {
      say(`${megabytes} MB: live, ${percent} % a second`);
      await attempt(`live ${megabytes} ${percent}`, () => live(megabytes, percent));
    }
  }
}
for (const length of counts.chains) {
  for (const way of ['command', 'alice'] as const) {
    say(`a restore from ${length} directories, ${way}`);
    await attempt(`chain ${way} ${length}`, () => chain(way, counts.chainMegabytes, length));
  }
}
say('the cost of tracked memory');
await attempt('tracking', () => tracking(counts.chainMegabytes));

const results: LiveResults = {
  machine: {
    processor: cpus()[0]?.model ?? '',
    cores: `${cpus().length}`,
    memory: `${(totalmem() / 2 ** 30).toFixed(1)} GiB`,
    kernel: release(),
    criu: /Version: (.*)/.exec(spawnSync('criu', ['--version'], { encoding: 'utf8' }).stdout)?.[1] ?? '',
    node: process.version,
  },
  samples,
  failures,
};
writeFileSync(join(out, 'live.json'), `${JSON.stringify(results, undefined, 1)}\n`);
