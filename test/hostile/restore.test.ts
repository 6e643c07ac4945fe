/** Images are alice's to write. The process that runs after a restore has at most her rights, or it never runs. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CriuResp } from '../../src/protocol/messages.ts';
import { eventually } from '../system/support/bench.ts';
import { statusLine } from '../system/support/proc.ts';
import { assertServed, it, needsSysResource } from './support/guarantee.ts';
import { AlicesImages, assertNeverRan, checkpointRestore } from './support/images.ts';

const everything = [0xffffffff, 0x1ff];

interface Edit {
  readonly trait: string;
  readonly edit: (images: AlicesImages) => Promise<void>;
  /**
   * The service's sentence; or CRIU's own failure, because the kernel or the library of engines refused the credentials in the image;
   * or in silence: CRIU ignores the kernel's refusal and restores a process without them.
   */
  readonly refused: RegExp | 'by the kernel' | 'in silence';
  /** The rights with which the same images become a process, and the defect of that process. */
  readonly bite: 'root' | 'engine';
  readonly wrong: (images: AlicesImages) => boolean;
  readonly needs?: (context: Mocha.Context) => void;
}

const creds = (pid: number, line: string): string => statusLine(pid, line) ?? '';

/** A file of a process; empty if the process does not exist. */
function procFile(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return '';
  }
}

/** Without any groups, the line consists of its name. */
const groups = (pid: number): string =>
  /^Groups:[ \t]*(.*?)[ \t]*$/m.exec(procFile(pid, 'status'))?.[1] ?? '?';

const edits: readonly Edit[] = [
  {
    trait: 'the capability of an engine in all threads',
    edit: (images) =>
      images.editCredentials({
        cap_prm: checkpointRestore,
        cap_eff: checkpointRestore,
        cap_inh: checkpointRestore,
      }),
    refused: /has .* capabilities that you do not have/,
    bite: 'engine',
    wrong: (images) => images.holdsCapability,
  },
  {
    trait: 'the capability of an engine in the leader',
    edit: (images) =>
      images.editCredentials({ cap_prm: checkpointRestore, cap_eff: checkpointRestore }, 'leader'),
    refused: /has .* capabilities that you do not have/,
    bite: 'engine',
    wrong: (images) => images.holdsCapability,
  },
  {
    trait: 'the capability of an engine in the second thread',
    edit: (images) =>
      images.editCredentials({ cap_prm: checkpointRestore, cap_eff: checkpointRestore }, 'second thread'),
    refused: /thread \d+, has .* capabilities that you do not have/,
    bite: 'engine',
    wrong: (images) => images.holdsCapability,
  },
  {
    trait: 'the capability of an engine as inheritable and ambient',
    edit: (images) =>
      images.editCredentials({
        cap_prm: checkpointRestore,
        cap_inh: checkpointRestore,
        cap_amb: checkpointRestore,
      }),
    refused: /has .* capabilities that you do not have/,
    bite: 'engine',
    wrong: (images) => images.holdsCapability,
  },
  {
    trait: 'all capabilities',
    edit: (images) =>
      images.editCredentials({ cap_prm: everything, cap_eff: everything, cap_inh: everything }),
    refused: 'by the kernel',
    bite: 'root',
    wrong: (images) => creds(images.pid, 'CapEff').startsWith('000001'),
    needs: needsSysResource,
  },
  {
    trait: 'the uid of bob',
    edit: (images) => images.editCredentials({ uid: 1501, euid: 1501, suid: 1501, fsuid: 1501 }),
    refused: 'by the kernel',
    bite: 'root',
    wrong: (images) => creds(images.pid, 'Uid').startsWith('1501'),
  },
  {
    trait: 'root’s saved uid, to be used later',
    edit: (images) => images.editCredentials({ suid: 0 }),
    refused: 'by the kernel',
    bite: 'root',
    wrong: (images) => creds(images.pid, 'Uid') === '1500\t1500\t0\t1500',
  },
  {
    trait: 'the gid of root',
    edit: (images) => images.editCredentials({ gid: 0, egid: 0, sgid: 0, fsgid: 0 }),
    refused: 'by the kernel',
    bite: 'root',
    wrong: (images) => creds(images.pid, 'Gid').startsWith('0'),
  },
  {
    trait: 'the groups of root',
    edit: (images) => images.editCredentials({ groups: [0, 42] }),
    refused: 'by the kernel',
    bite: 'root',
    wrong: (images) => groups(images.pid) === '0 42',
  },
  {
    trait: 'no groups at all, although some files deny access to a group',
    edit: (images) => images.editCredentials({ groups: null }),
    // Without the field CRIU sets no groups, and the process would keep those of the engine: the library of engines refuses.
    refused: 'by the kernel',
    bite: 'root',
    wrong: (images) => groups(images.pid) === '',
  },
  {
    trait: 'an open file of root’s that alice may not read',
    edit: (images) => images.edit(['files.img'], { rename: ['/dev/null', '/etc/shadow'] }),
    refused: 'by the kernel',
    // Root's CRIU opens the file, then complains that its mode differs from /dev/null's in the image; alice's CRIU cannot open
    // it.
    bite: 'root',
    wrong: (images) =>
      readFileSync(join(images.directory, 'bite.log'), 'utf8').includes('etc/shadow has bad'),
  },
  {
    trait: 'a raised limit of open files',
    edit: (images) =>
      images.edit([`core-${images.pid}.img`], {
        tc: {
          rlimits: { rlimits: Array.from({ length: 16 }, () => ({ cur: 1 << 20, max: 1 << 20 })) },
        },
      }),
    refused: 'in silence',
    bite: 'root',
    wrong: (images) => /^Max open files .*\b1048576\b/m.test(procFile(images.pid, 'limits')),
    needs: needsSysResource,
  },
];

function assertFailed(reply: CriuResp | 'closed' | 'stuck', refused: Edit['refused']): void {
  if (reply === 'stuck' && refused === 'by the kernel') return;
  assert.ok(reply !== 'closed' && reply !== 'stuck', 'there was no reply');
  assert.equal(reply.success, false, JSON.stringify(reply));
  if (refused instanceof RegExp) assert.match(reply.cr_errmsg ?? '', refused);
}

describe('a restore of alice’s from images that she has edited', () => {
  let images: AlicesImages;
  afterEach(() => images?.end());

  it('works with her credentials if she has edited nothing', async () => {
    images = await AlicesImages.make();
    const reply = await images.restore();
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    await eventually('it runs', () => images.ran);
    assert.equal(images.holdsCapability, false);
  });

  // A pair of tests in one: the images are the same, and making them takes seconds under emulation.
  for (const { trait, edit, refused, bite, wrong, needs } of edits) {
    const elsewhere = bite === 'root' ? 'root’s CRIU' : 'an engine whose work is not verified';
    it(`does not become a process with ${trait}, and does with ${elsewhere}`, async function () {
      images = await AlicesImages.make();
      await edit(images);
      const reply = await images.restoreOrLeave();
      if (refused === 'in silence') {
        assert.ok(typeof reply === 'object' && reply.success, JSON.stringify(reply));
        assert.equal(wrong(images), false);
        await images.end();
      } else {
        assertFailed(reply, refused);
        await assertNeverRan(images);
      }
      needs?.(this);
      await images.restoreUnguarded(bite);
      await eventually('the attack bites', () => wrong(images));
    });
  }

  it('leaves the service ready for other users', async () => {
    await assertServed('bob');
  });
});
