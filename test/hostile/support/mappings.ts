/** Files that alice has mapped for reading and may not write, and her way to them (clients/mapped.c). */
import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { binary, run } from '../../system/support/bench.ts';
import { endProcess } from '../../system/support/proc.ts';
import { Attacker, AttackFailed } from './attacker.ts';
import { Held, type How } from './held.ts';
import { as, directoryOf, uids } from './people.ts';

export const O_RDWR = 2;
const content = 'ONLY FOR READING';

/** One shared mapping of a process. */
export class Mapping {
  readonly pid: number;
  readonly inode: string;
  /** The link that the kernel has for it. */
  readonly link: string;

  /** @param name of its file in the maps. */
  constructor(pid: number, name: RegExp) {
    this.pid = pid;
    const line = readFileSync(`/proc/${pid}/maps`, 'latin1')
      .split('\n')
      .find((each) => name.test(each));
    assert.ok(line, `process ${pid} has no mapping of ${name}`);
    const [range, , , , inode] = line.split(/\s+/);
    this.inode = inode!;
    this.link = `/proc/${pid}/map_files/${range}`;
  }

  get content(): string {
    return readFileSync(this.link, 'latin1').slice(0, content.length);
  }
}

const started: number[] = [];

/** Starts clients/mapped.c. */
export function mapped(under: string[], ...argv: string[]): number {
  const [file, ...rest] = [...under, binary('mapped'), ...argv];
  const pid = Number(run(file!, ...rest));
  started.push(pid);
  return pid;
}

const view = (path: string): number => mapped([], 'view', String(uids.alice), path);

/** A file that bob's process has open, by the path that root uses. */
const linkOf = ({ link }: Mapping): string => link;

export interface Kind {
  readonly what: string;
  /** The mode of the file, as the kernel reports it: it may allow more than its owner gave to alice. */
  readonly mode: number;
  /** @returns a process that may write the file, and a process of hers that has it mapped. */
  readonly make: () => { readonly owner: Mapping; readonly hers: Mapping };
}

export const mappedKinds: readonly Kind[] = [
  {
    what: 'a System V segment of bob’s that she may attach for reading',
    mode: 0o100777,
    make: () => {
      const owner = new Mapping(mapped(as('bob'), 'segment'), /\/SYSV/);
      return { owner, hers: new Mapping(mapped(as('alice'), 'attach', owner.inode), /\/SYSV/) };
    },
  },
  {
    what: 'a memfd of bob’s',
    mode: 0o100777,
    make: () => {
      const owner = new Mapping(mapped(as('bob'), 'memfd'), /\/memfd:/);
      return { owner, hers: new Mapping(view(linkOf(owner)), /\/memfd:/) };
    },
  },
  {
    what: 'a file of bob’s in a directory that she cannot enter',
    mode: 0o100666,
    make: () => {
      const path = join(directoryOf('bob', 0o700), 'file');
      const owner = new Mapping(mapped(as('bob'), 'file', path), /\/file$/);
      return { owner, hers: new Mapping(view(path), /\/file$/) };
    },
  },
  {
    what: 'a file of bob’s that is deleted',
    mode: 0o100666,
    make: () => {
      const path = join(directoryOf('bob', 0o700), 'file');
      const owner = new Mapping(mapped(as('bob'), 'file', path), /\/file$/);
      const hers = view(path);
      rmSync(path);
      return { owner, hers: new Mapping(hers, /\/file \(deleted\)$/) };
    },
  },
  {
    what: 'a file of root’s in another mount namespace',
    mode: 0o100666,
    make: () => {
      const hers = new Mapping(mapped([], 'apart', String(uids.alice)), /\/apart$/);
      return { owner: hers, hers };
    },
  },
];

/** The outcome, with everything that helps to explain it. */
export interface Written {
  readonly written: boolean;
  readonly said: string;
}

/** Restores a process that held a file of hers, with a link to the mapping in place of that file, and has it write. */
export async function writeThrough({ mode, make }: Kind, how: How): Promise<Written> {
  const { owner, hers } = make();
  assert.equal(owner.content, content);
  // alice cannot open it herself.
  const alice = new Attacker('alice');
  await assert.rejects(
    alice.do('open', 20, O_RDWR, hers.link),
    (error) => error instanceof AttackFailed && error.errno === constants.errno.EPERM,
  );
  const held = await Held.make(how, O_RDWR, { mode, size: 4096 });
  held.replaceBy(hers.link);
  const reply = await held.images.restore(alice);
  const errno = held.alive ? await held.write() : undefined;
  await held.images.end();
  return {
    written: owner.content !== content || errno === 0,
    said: `${JSON.stringify(reply)}, errno ${errno}, ${owner.content}`,
  };
}

/** Called when a test is over. */
export function endMapped(): void {
  for (const pid of started.splice(0)) endProcess(pid);
}
