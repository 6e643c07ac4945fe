/**
 * A dump of a tree that criuctl itself is in, as when a program asks for its own dump by a shell command: CRIU would have to
 * freeze the process that waits for its answer. With --detach a process outside of the tree asks.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { detachedVerb } from './detached-verb.ts';
import { atNewFile } from './directories.ts';
import { exitCodes } from './exit-codes.ts';
import { read } from './gone.ts';
import { type Invocation, Obstacle, type Outcome } from './invocation.ts';

/** The file for the words of the process outside, unless another is named. */
export const usualFile = 'criuctl.log';

const stepMs = 5;

/** @returns the outcome of a request that another process makes; undefined if this process asks itself. */
export function detachIfAsked(invocation: Invocation): Outcome | undefined {
  const { detach } = invocation.own;
  return detach === undefined ? undefined : detached(invocation, detach === '' ? usualFile : detach);
}

/** @throws Obstacle if this process is in the tree. */
export function requireOutside({ verb, options }: Invocation): void {
  if (!isBelow(process.pid, options.pid!)) return;
  throw new Obstacle(
    exitCodes.refused,
    `${verb.toUpperCase()} refused: criuctl is in the tree of process ${options.pid} itself`,
    wasDetached()
      ? 'A process of the tree collects its orphans (PR_SET_CHILD_SUBREAPER in prctl(2)): ask from outside of it'
      : `Ask with --detach: a process outside of the tree asks then, and its result goes to ${usualFile}`,
  );
}

/** Starts criuctl once more, and leaves it to its own. It asks when this process, its parent, has ended. */
function detached(invocation: Invocation, name: string): Outcome {
  const { verb, options } = invocation;
  let file: number;
  try {
    file = atNewFile(invocation, name, (path) => openSync(path, 'a', 0o600));
  } catch (error) {
    if (error instanceof Obstacle) throw error;
    throw new Obstacle(
      exitCodes.directory,
      `${name} cannot be written: ${(error as Error).message.split(', ')[0]}`,
    );
  }
  const words = process.argv.slice(2).filter((word) => !/^--detach(=|$)/.test(word));
  const child = spawn(
    process.execPath,
    [...process.execArgv, process.argv[1]!, detachedVerb, `${process.pid}`, ...words],
    { detached: true, stdio: ['ignore', file, file] },
  );
  closeSync(file);
  child.unref();
  return {
    sentence: `criuctl with pid ${child.pid} asks for the ${verb} of process ${options.pid}; its result goes to ${name}`,
    value: name,
    json: { verb, pid: options.pid, detached: child.pid, log: name },
  };
}

/** In the process outside: waits until it has left the tree, where nothing else keeps it. */
export async function untilDetached(parent: number): Promise<void> {
  process.env[mark] = '1';
  while (process.ppid === parent) await delay(stepMs);
}

const mark = 'CRIUCTL_DETACHED';

function wasDetached(): boolean {
  return process.env[mark] !== undefined;
}

function isBelow(pid: number, root: number): boolean {
  for (let each = pid; each > 0; each = parentOf(each)) if (each === root) return true;
  return false;
}

function parentOf(pid: number): number {
  return Number(/^PPid:\t(\d+)$/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0);
}
