/** The world to which the rows of compare-table.ts refer: directories by their descriptors in this process, and processes. */
import { closeSync, constants, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CriuOpts, ReqType } from '../../../src/protocol/messages.ts';
import { freshDirectory } from './bench.ts';
import { ask } from './client.ts';
import { referenceAddress } from './reference.ts';
import { Target } from './targets.ts';

export interface World {
  /** An empty directory for a single row and service. */
  readonly images: number;
  /** Another such directory. */
  readonly work: number;
  /** A process that runs, and images of it. */
  readonly target: Target;
  readonly running: number;
  /** Images of a process that ended with its dump. */
  readonly dumped: number;
  readonly dumpedPid: number;
  readonly cpuinfo: number;
  /** A directory with an invalid inventory. */
  readonly broken: number;
  /** An open file. */
  readonly file: number;
}

const opened: number[] = [];

function open(path: string): number {
  const fd = openSync(path, constants.O_RDONLY);
  opened.push(fd);
  return fd;
}

/** The part that all rows share. CRIU's own service makes the images, so that both services are given the same. */
export async function makeWorld(): Promise<Omit<World, 'images' | 'work'>> {
  const must = async (type: ReqType, opts: CriuOpts): Promise<void> => {
    const reply = await ask({ type, opts }, referenceAddress);
    if (!reply.success) throw new Error(`The reference cannot make images: ${JSON.stringify(reply)}`);
  };
  const [running, dumped, cpuinfo, broken] = [0, 0, 0, 0].map(() => freshDirectory());
  const target = Target.start();
  await must(ReqType.DUMP, { images_dir_fd: open(running!), pid: target.pid, leave_running: true });
  const victim = Target.start();
  await must(ReqType.DUMP, { images_dir_fd: open(dumped!), pid: victim.pid });
  await must(ReqType.CPUINFO_DUMP, { images_dir_fd: open(cpuinfo!) });
  writeFileSync(join(broken!, 'inventory.img'), 'This is no image at all.');
  return {
    target,
    running: open(running!),
    dumped: open(dumped!),
    dumpedPid: victim.pid,
    cpuinfo: open(cpuinfo!),
    broken: open(broken!),
    file: open('/etc/hostname'),
  };
}

export function withFreshDirectories(world: Omit<World, 'images' | 'work'>): World {
  return { ...world, images: open(freshDirectory()), work: open(freshDirectory()) };
}

export function closeWorld(): void {
  for (const fd of opened.splice(0)) closeSync(fd);
}
