/** Files that are put back to what they were at a dump, with real files and images made by hand. */
import assert from 'node:assert/strict';
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { parseCommandLine } from '../../src/cli/command-line.ts';
import { allFit, type Plan, planFor, type Reach } from '../../src/cli/files/put-back.ts';
import { filesFit, RestoredFiles } from '../../src/cli/files/restore-files.ts';
import type { Invocation } from '../../src/cli/invocation.ts';
import { fileOf, magic } from '../../src/cli/terminal/image-file.ts';
import { CriuError } from '../../src/client/criu-error.ts';
import { writeFields } from '../../src/protocol/fields.ts';
import { descriptors, openedSince } from '../support/descriptors.ts';

function message(fields: Readonly<Record<number, number | Uint8Array>>): Uint8Array {
  return writeFields(Object.entries(fields).map(([number, value]) => ({ number: Number(number), value })));
}

const byName: Reach = (path, use) => use(path);

/** A file that had `then` at the dump, and images of a program that writes at its end. */
class Case {
  // Not in /tmp, which may have no leases.
  readonly directory = mkdtempSync('/var/tmp/put-back-');
  readonly images = join(this.directory, 'images');
  readonly path: string;

  constructor(then: string, path = 'out') {
    this.path = join(this.directory, path);
    const size = then.length;
    const reg = message({ 1: 1, 2: 1, 3: size, 6: Buffer.from(this.path), 8: size });
    mkdirSync(this.images);
    writeFileSync(join(this.images, 'files.img'), fileOf([message({ 1: 1, 2: 1, 3: reg })], magic.files));
    writeFileSync(join(this.images, 'fdinfo-2.img'), fileOf([message({ 1: 1, 3: 1, 4: 3 })], magic.fdinfo));
    writeFileSync(this.path, then, { mode: 0o640 });
  }

  get plan(): Extract<Plan, { is: 'plan' }> {
    const plan = planFor(this.images, byName);
    assert.equal(plan.is, 'plan', JSON.stringify(plan));
    return plan as Extract<Plan, { is: 'plan' }>;
  }

  refused(why: RegExp): void {
    const plan = planFor(this.images, byName);
    assert.equal(plan.is, 'refused');
    assert.match((plan as Extract<Plan, { is: 'refused' }>).sentences.join('\n'), why);
  }

  get content(): string {
    return readFileSync(this.path, 'utf8');
  }

  get beside(): string[] {
    return readdirSync(this.directory).filter((name) => name.includes('after'));
  }
}

describe('the files of a job', () => {
  const anywhere = {};

  it('fit a resume that may put them back if they are as they were, or have grown', () => {
    const file = new Case('before\n');
    const fits = () => allFit(file.images, byName, anywhere);
    assert.ok(fits());
    appendFileSync(file.path, 'later\n');
    assert.ok(fits());
    truncateSync(file.path, 3);
    assert.ok(!fits());
    renameSync(file.path, `${file.path}.elsewhere`);
    assert.ok(!fits());
    assert.deepEqual(file.beside, []);
  });

  it('fit a resume that may put back others only if they are as they were', () => {
    const file = new Case('before\n');
    const fits = (within: string) => allFit(file.images, byName, { within });
    assert.ok(fits('/elsewhere'));
    appendFileSync(file.path, 'later\n');
    assert.ok(!fits('/elsewhere'));
    assert.ok(fits(file.directory));
  });

  it('fit with any size if CRIU compares none, and need to be there', () => {
    const file = new Case('before\n');
    const log = `${file.path}.log`;
    const which = { within: '/elsewhere', more: [{ path: log, size: 9, appends: true }] };
    const fits = () => allFit(file.images, byName, which);
    assert.ok(!fits());
    writeFileSync(log, '');
    assert.ok(fits());
  });
});

describe('the descriptors of files that are put back', () => {
  const invocation = (file: Case, ...words: string[]): Invocation => {
    const parsed = parseCommandLine(['restore', '-D', file.images, ...words]);
    assert.ok('verb' in parsed);
    return { ...parsed, verb: 'restore', signal: new AbortController().signal } as unknown as Invocation;
  };

  it('are closed after a look at all files, for root, too', async () => {
    const file = new Case('before\n');
    const restoring = invocation(file, '--restore-files');
    // Loads its module.
    await filesFit(restoring);
    const before = descriptors();
    for (const more of ['', 'later\n']) {
      appendFileSync(file.path, more);
      assert.equal(await filesFit(restoring), true);
    }
    renameSync(file.path, `${file.path}.elsewhere`);
    assert.equal(await filesFit(restoring), false);
    assert.deepEqual(openedSince(before), []);
  });

  for (const [how, ask] of [
    ['has succeeded', () => Promise.resolve()],
    ['has failed', () => Promise.reject(new CriuError('FAILED', 'RESTORE failed'))],
  ] as const)
    it(`are closed after a restore that ${how}`, async () => {
      const file = new Case('before\n');
      appendFileSync(file.path, 'later\n');
      const before = descriptors();
      const files = (await RestoredFiles.for(invocation(file, '--restore-files'), file.images))!;
      await files.ask(ask).catch(() => undefined);
      files.release();
      assert.deepEqual(openedSince(before), []);
    });

  it('are closed if another file is in the way, or cannot be reached', () => {
    const file = new Case('before\n');
    appendFileSync(file.path, 'later\n');
    const before = descriptors();
    const more = [{ path: '/elsewhere', size: 1, appends: true }];
    const unreachable: Reach = (path, use) => {
      if (path === '/elsewhere') throw new Error('the way is not root’s');
      return use(path);
    };
    assert.throws(() => planFor(file.images, unreachable, { more }), /the way is not root’s/);
    const link = `${file.path}.link`;
    symlinkSync(file.path, link);
    const plan = planFor(file.images, byName, { more: [{ path: link, size: 1, appends: true }] });
    assert.equal(plan.is, 'refused');
    assert.deepEqual(openedSince(before), []);
  });
});

describe('a file that has grown since a dump', () => {
  it('has its old size again, and what came after is beside it, with the same mode', () => {
    const file = new Case('before\n');
    appendFileSync(file.path, 'later\n');
    const kept = `${file.path}.after-7`;
    assert.deepEqual(file.plan.carryOut(), [{ path: file.path, kept, bytes: 6 }]);
    assert.equal(file.content, 'before\n');
    assert.equal(readFileSync(kept, 'utf8'), 'later\n');
    assert.equal(statSync(kept).mode & 0o777, 0o640);
  });

  it('is as it was found after an undo', () => {
    const file = new Case('before\n');
    appendFileSync(file.path, 'later\n');
    const { plan } = file;
    plan.carryOut();
    plan.undo();
    assert.equal(file.content, 'before\nlater\n');
    assert.deepEqual(file.beside, []);
  });

  it('stays as it is after an undo if somebody wrote meanwhile, and so do the bytes beside it', () => {
    const file = new Case('before\n');
    appendFileSync(file.path, 'later\n');
    const { plan } = file;
    plan.carryOut();
    appendFileSync(file.path, 'new\n');
    assert.match(plan.undo().join(), /was written meanwhile: what came after the dump is in .*out\.after-7/);
    assert.equal(file.content, 'before\nnew\n');
    assert.deepEqual(file.beside, ['out.after-7']);
  });

  it('is told, and the rest is undone, if its bytes cannot be put back', () => {
    const file = new Case('before\n');
    appendFileSync(file.path, 'later\n');
    const { plan } = file;
    plan.carryOut();
    renameSync(`${file.path}.after-7`, `${file.path}.elsewhere`);
    assert.match(plan.undo().join(), /is as it was at the dump, and what came after is in .*ENOENT/);
    assert.equal(file.content, 'before\n');
  });

  it('leaves the bytes of earlier times alone', () => {
    const file = new Case('before\n');
    for (const later of ['first\n', 'second\n']) {
      appendFileSync(file.path, later);
      file.plan.carryOut();
    }
    assert.deepEqual(
      file.beside.map((name) => readFileSync(join(file.directory, name), 'utf8')),
      ['first\n', 'second\n'],
    );
  });

  it('is refused while a process has it open for writing, and behind a link', () => {
    const file = new Case('before\n');
    appendFileSync(file.path, 'later\n');
    const writer = openSync(file.path, 'a');
    file.refused(/a process has it open for writing/);
    closeSync(writer);
    const moved = `${file.path}.moved`;
    renameSync(file.path, moved);
    symlinkSync(moved, file.path);
    file.refused(/is a link/);
    assert.equal(readFileSync(moved, 'utf8'), 'before\nlater\n');
  });

  it('is refused behind a link on its way', () => {
    const file = new Case('before\n', 'out');
    appendFileSync(file.path, 'later\n');
    const away = `${file.directory}.away`;
    renameSync(file.directory, away);
    symlinkSync(away, file.directory);
    file.refused(/through a link/);
    assert.equal(existsSync(`${file.path}.after-7`), false);
  });

  it('is nothing to do for a file that is as it was, or is gone', () => {
    const file = new Case('before\n');
    assert.deepEqual(file.plan.carryOut(), []);
    renameSync(file.path, `${file.path}.gone`);
    assert.deepEqual(file.plan.carryOut(), []);
  });
});
