/** Dumps a program, and restores each damaged copy of its images: the verdict before, and what came of it. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { as, directoryOf, type User } from '../../hostile/support/people.ts';
import { isAlive } from '../../system/support/proc.ts';
import type { Program } from '../program.ts';
import { Running, treeOf, until } from '../running.ts';
import { runAs } from '../shell.ts';
import { type Damage, damagesOf, intact, type KnownByte } from './damages.ts';
import type { Attempted, Measured, Said } from './judgement.ts';
import {
  Awaited,
  type DumpedMemory,
  dumpedOf,
  lostMemfd,
  lostMemory,
  memoryIn,
  type Steady,
  steadyState,
} from './state.ts';

/** A restore that takes longer waits for something that does not come; most damages are known not to. In seconds. */
const patience = '50';
const hangingPatience = '8';
/** Events of an intact program come, however busy the machine is. */
const intactMs = 300_000;
/** A program that came back without something may never work, or have all descriptors again. */
const damagedWorksMs = 120_000;
const damagedDescriptorsMs = 20_000;
/** Each directory is damaged in at least so many ways. */
export const leastDamages = 8;

export async function measure(
  program: Program,
  user: User,
  port: number,
  turn: number,
): Promise<readonly Measured[]> {
  const running = new Running(program, user, port);
  try {
    await running.start();
    const { options, restoreOptions } = running.look();
    const images = join(directoryOf(user), 'images');
    const pids = treeOf(running.pid);
    const steady = await steadyState(pids);
    const words = options.flatMap((option) => option.split(' '));
    const dump = ['dump', `${running.pid}`, '-D', images, '--digest-pages', ...words];
    const { status, stderr } = runAs(running.place, 'criuctl', ...dump);
    if (status !== 0) throw new Error(`no dump: ${stderr}`);
    running.set({ PHASE: 'after' });
    const dumped = new Dumped(running, images, steady, restoreOptions);
    await dumped.gone();
    const all: Measured[] = [];
    const { usual, more } = damagesOf(images, turn);
    for (const [index, damage] of [...usual, ...more].entries()) {
      // The intact directory is among them.
      if (index >= usual.length && all.length > leastDamages) break;
      const measured = await dumped.damaged(damage);
      if (measured) all.push({ program: program.name, user, ...measured });
    }
    return all;
  } finally {
    running.end();
  }
}

/** CRIU's mounts of control groups stay in the directory of images when it fails as root. */
function unmountBelow(directory: string): void {
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n').reverse()) {
    const [, place = ''] = line.split(' ');
    if (place.startsWith(`${directory}/`)) execFileSync('umount', ['--lazy', place]);
  }
}

/** The images of a program that has ended, and its files as they were then. */
class Dumped {
  readonly #running: Running;
  readonly #images: string;
  readonly #options: readonly string[];
  readonly #pids: readonly number[];
  readonly #steady: Steady;
  readonly #memory: DumpedMemory;
  readonly #files = directoryOf('root');

  constructor(running: Running, images: string, steady: Steady, options: readonly string[]) {
    this.#running = running;
    this.#images = images;
    this.#options = options;
    this.#memory = memoryIn(images, running.pid);
    this.#pids = readdirSync(images).flatMap((name) => Number(/^core-(\d+)\.img$/.exec(name)?.[1] ?? []));
    const descriptors = new Map([...steady.descriptors].filter(([pid]) => this.#pids.includes(pid)));
    this.#steady = { ...steady, descriptors: dumpedOf(descriptors, images) };
    execFileSync('cp', ['-a', `${running.place.directory}/.`, this.#files]);
  }

  async gone(): Promise<void> {
    const isGone = () => this.#pids.every((pid) => !existsSync(`/proc/${pid}`));
    if (!(await until(isGone))) throw new Error('the dumped processes stay');
  }

  async damaged(damage: Damage): Promise<Omit<Measured, 'program' | 'user'> | undefined> {
    const { user } = this.#running.place;
    const copy = join(directoryOf(user), 'copy');
    const [file, ...argv] = [...as(user), 'cp', '-a', this.#images, copy];
    execFileSync(file!, argv);
    try {
      const byte: KnownByte | undefined = this.#memory.known?.byte;
      if (!damage.spoil(copy, byte)) return undefined;
      const withManifest = this.#said(copy);
      rmSync(join(copy, 'manifest.json'));
      const without = this.#said(copy);
      const attempted = await this.#attempt(copy, damage);
      const { what, isSilent = false } = damage;
      return { damage: what, isSilent, withManifest, without, attempted };
    } finally {
      unmountBelow(copy);
      rmSync(copy, { recursive: true, force: true });
      await this.#endAll();
    }
  }

  #said(images: string): Said {
    const { stdout, stderr } = runAs(this.#running.place, 'criuctl', 'images', 'verify', images, '--json');
    try {
      const { verdict, findings } = JSON.parse(stdout);
      const kinds = findings.map(({ kind }: { kind: string }) => kind);
      return { verdict, kinds, why: findings.map(({ why }: { why: string }) => why).join('; ') };
    } catch {
      throw new Error(`criuctl images verify: ${stderr}`);
    }
  }

  async #attempt(images: string, { hangs, what }: Damage): Promise<Attempted> {
    const limit = ['timeout', '-k', '1', hangs ? hangingPatience : patience];
    const argv = [...limit, 'criuctl', 'restore', '-D', images, '--no-verify', ...this.#options];
    const { status, stderr } = runAs(this.#running.place, ...argv);
    if (status === 124) return { outcome: 'waits', words: '' };
    if (status !== 0) return { outcome: 'failed', words: stderr.split('\n')[0]! };
    const isIntact = what === intact.what;
    const { pid } = this.#running;
    const { descriptors, memfds } = this.#steady;
    const awaited = new Awaited(descriptors, pid);
    const isWhole = await until(
      () => awaited.areThere(),
      () => isAlive(pid),
      isIntact ? intactMs : damagedDescriptorsMs,
    );
    const lost = isWhole ? (lostMemory(this.#memory, pid) ?? lostMemfd(memfds, pid)) : awaited.words;
    if (lost !== undefined) return { outcome: 'otherwise', words: lost };
    return (await this.#running.works(isIntact ? intactMs : damagedWorksMs))
      ? { outcome: 'restored', words: '' }
      : { outcome: 'otherwise', words: 'it does not work' };
  }

  /** Ends what was restored, and puts the program's files back. */
  async #endAll(): Promise<void> {
    this.#running.rememberTree();
    this.#running.end();
    await this.gone();
    const { directory } = this.#running.place;
    execFileSync('find', [directory, '-mindepth', '1', '-delete']);
    execFileSync('cp', ['-a', `${this.#files}/.`, directory]);
  }
}
