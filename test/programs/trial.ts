/** A trial: a user starts a program, looks at it, dumps and restores it as the look says, and sees if it works. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { User } from '../hostile/support/people.ts';
import { type Attempt, refusedStatus, type Trial } from './outcome.ts';
import type { Program } from './program.ts';
import { Running, type Told, until } from './running.ts';

/** The kernel's TCP_TIMEWAIT_LEN. */
const closingMs = 60_000;

export async function tryOut(program: Program, user: User, port: number): Promise<Trial> {
  const running = new Running(program, user, port);
  try {
    return await trial(running);
  } catch (error) {
    return { verdict: undefined, options: [], fault: String((error as Error).message) };
  } finally {
    running.end();
  }
}

async function trial(running: Running): Promise<Trial> {
  await running.start();
  const told = running.look();
  const images = join(running.place.directory, 'images');
  const attempt = await attemptOf(running, images, told);
  const trial = { verdict: told.verdict, options: told.options, attempt };
  const isRefused = attempt.dump.status === refusedStatus && attempt.works;
  if (told.verdict !== 'does-not-come-back' || !isRefused) return trial;
  return { ...trial, forced: await attemptOf(running, `${images}-forced`, told, '--force') };
}

async function attemptOf(
  running: Running,
  images: string,
  { options, restoreOptions }: Told,
  ...more: string[]
): Promise<Attempt> {
  const words = options.flatMap((option) => option.split(' '));
  running.rememberTree();
  const dump = running.dump(images, ...words, ...more);
  if (dump.status !== 0) return { dump, works: await running.works() };
  if (!(await until(() => !existsSync(`/proc/${running.pid}`)))) throw new Error('the dumped process stays');
  let restore = await running.restore(images, restoreOptions);
  if (
    restore.status !== 0 &&
    /again in a minute/.test(restore.sentence) &&
    (await until(connectionsHaveClosed, () => true, 3 * closingMs))
  )
    restore = await running.restore(images, restoreOptions);
  running.set({ PHASE: 'after' });
  return { dump, restore, works: restore.status === 0 && (await running.works()) };
}

/** No TCP connection of this machine is in TIME_WAIT, 06 in proc_pid_net(5). */
function connectionsHaveClosed(): boolean {
  return ['tcp', 'tcp6'].every(
    (table) => !/^ *\d+: \S+ \S+ 06 /m.test(readFileSync(`/proc/self/net/${table}`, 'latin1')),
  );
}
