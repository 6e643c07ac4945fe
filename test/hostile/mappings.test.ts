/**
 * What alice has mapped for reading she cannot open by the link that the kernel has for the mapping (/proc/PID/map_files): that takes
 * the capability which engines have. CRIU opens files for her with it; so a link to such a link, in the place of a file of hers, must
 * not give her what she only sees, to write into.
 */
import assert from 'node:assert/strict';
import { readFileSync, readlinkSync, rmSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { binary, run } from '../system/support/bench.ts';
import { endProcess } from '../system/support/proc.ts';
import { Attacker, AttackFailed } from './support/attacker.ts';
import { it } from './support/guarantee.ts';
import { Held, type How } from './support/held.ts';
import { as, directoryOf, uids } from './support/people.ts';

const O_RDWR = 2;
const content = 'ONLY FOR READING';

/** One shared mapping of a process. */
class Mapping {
  readonly pid: number;
  readonly inode: string;
  /** The link that the kernel has for it. */
  readonly link: string;

  /** @param name what its file is called in the maps. */
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
function mapped(under: string[], ...argv: string[]): number {
  const [file, ...rest] = [...under, binary('mapped'), ...argv];
  const pid = Number(run(file!, ...rest));
  started.push(pid);
  return pid;
}

const view = (path: string): number => mapped([], 'view', String(uids.alice), path);

/** What bob's process has open, as root sees it. */
const linkOf = ({ link }: Mapping): string => link;

interface Kind {
  readonly what: string;
  /** The mode of what is behind it, which says more than whoever gave it to her. */
  readonly mode: number;
  /** @returns whoever may write it, and a process of hers that has it mapped. */
  readonly make: () => { readonly owner: Mapping; readonly hers: Mapping };
}

const kinds: readonly Kind[] = [
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

describe('what alice may only read, mapped by a process of hers', () => {
  afterEach(() => {
    for (const pid of started.splice(0)) endProcess(pid);
  });

  // The control: a link is followed, and what is behind it is written, where she may do so herself.
  it('is written by what is restored for her, where she may write it herself', async () => {
    const owner = new Mapping(mapped(as('alice'), 'file', join(directoryOf('alice'), 'file')), /\/file$/);
    const held = await Held.make('map', O_RDWR, { mode: 0o100666, size: 4096 });
    held.replaceBy(readlinkSync(owner.link));
    const reply = await held.images.restore();
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    assert.equal(await held.write(), 0);
    await held.images.end();
    assert.match(owner.content, /^ALICE WAS HERE/);
  });

  for (const { what, mode, make } of kinds) {
    for (const how of ['open', 'map'] satisfies How[]) {
      it(`is not written by what is restored for her, where it was ${how === 'open' ? 'an open file' : 'mapped'} (${what})`, async () => {
        const { owner, hers } = make();
        assert.equal(owner.content, content);
        // By herself she cannot.
        const alice = new Attacker('alice');
        await assert.rejects(
          alice.do('open', 20, O_RDWR, hers.link),
          (error) => error instanceof AttackFailed && error.errno === constants.errno.EPERM,
        );
        const held = await Held.make(how, O_RDWR, { mode, size: 4096 });
        held.replaceBy(hers.link);
        const reply = await held.images.restore(alice);
        const errno = held.alive ? await held.write() : undefined;
        const said = `${JSON.stringify(reply)}, errno ${errno}`;
        await held.images.end();
        assert.equal(owner.content, content, `she has written into it: ${said}`);
        assert.notEqual(errno, 0, said);
      });
    }
  }
});
