/** Tests against the kernel that a job's removal and its other operations exclude each other. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Job } from '../../src/job/job.ts';
import { cannotShow, eventually } from './support.ts';

describe('the removal of a job', () => {
  let home: string;
  let job: Job;
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'job-removal-'));
    job = Job.make(home, 'one');
    writeFileSync(job.at('job.json'), '{}');
  });
  afterEach(() => rmSync(home, { recursive: true, force: true }));

  const isMissing = { code: 'ENOENT' };

  it('leaves no lock to an operation that waited for it', async () => {
    const lock = await job.lock();
    const waiting = job.lock();
    job.remove(home);
    lock.release();
    await assert.rejects(waiting, isMissing);
    assert.deepEqual(readdirSync(home), []);
  });

  it('succeeds while others open files in the directory again and again', async () => {
    job.remove(home);
    const opening = spawn(process.execPath, [
      '-e',
      `const fs = require('node:fs');
       for (;;) try { fs.closeSync(fs.openSync(process.argv[1], 'a')) } catch {}`,
      job.at('lock'),
    ]);
    try {
      for (let round = 0; round < 20; round += 1) {
        const each = Job.make(home, 'one');
        writeFileSync(each.at('job.json'), '{}');
        for (let number = 0; number < 200; number += 1) mkdirSync(each.at('checkpoints', `${number}`));
        rmSync(each.at('lock'), { force: true });
        await eventually(() => existsSync(each.at('lock')));
        each.remove(home);
        assert.throws(() => each.watch(), isMissing);
        assert.deepEqual(readdirSync(home), []);
      }
    } finally {
      opening.kill('SIGKILL');
    }
  });

  it('takes along the files of a removal that was killed, which no list of jobs shows', async () => {
    const left = join(home, '.removed-other.7');
    mkdirSync(join(left, 'checkpoints'), { recursive: true });
    writeFileSync(join(left, 'job.json'), '{}');
    assert.deepEqual(Job.names(home), ['one']);
    const lock = await job.lock();
    job.remove(home);
    lock.release();
    assert.deepEqual(readdirSync(home), []);
  });

  it('fails where a file cannot be removed, and leaves that file to the next removal', () => {
    const kept = job.at('checkpoints', '1');
    mkdirSync(kept);
    writeFileSync(join(kept, 'pages-1.img'), 'secret');
    chmodSync(kept, 0o555);
    withoutPrivilege(() => assert.throws(() => job.remove(home), { code: 'EACCES' }));
    const [aside, ...others] = readdirSync(home);
    assert.deepEqual(others, []);
    assert.equal(readFileSync(join(home, aside!, 'checkpoints', '1', 'pages-1.img'), 'utf8'), 'secret');
    chmodSync(join(home, aside!, 'checkpoints', '1'), 0o755);
    writeFileSync(Job.make(home, 'two').at('job.json'), '{}');
    withoutPrivilege(() => Job.find(home, 'two')!.remove(home));
    assert.deepEqual(readdirSync(home), []);
  });

  /** Root is refused nothing. */
  function withoutPrivilege(work: () => void): void {
    const uid = process.geteuid!();
    if (uid !== 0) {
      work();
      return;
    }
    const nobody = 65_534;
    for (const name of ['.', ...(readdirSync(home, { recursive: true }) as string[])])
      chownSync(join(home, name), nobody, nobody);
    process.seteuid!(nobody);
    try {
      work();
    } finally {
      process.seteuid!(uid);
    }
  }

  it('takes a link to its directory along, and leaves other files where the directory was', async () => {
    const place = mkdtempSync(join(tmpdir(), 'job-place-'));
    try {
      const others = ['.removed-other.7', '.removed-one.7.orig', 'mine'];
      for (const name of [...others, '.removed-one.7']) mkdirSync(join(place, name));
      renameSync(job.path, join(place, 'one'));
      symlinkSync(join(place, 'one'), join(home, 'one'));
      const lock = await Job.find(home, 'one')!.lock();
      Job.find(home, 'one')!.remove(home);
      lock.release();
      assert.deepEqual(readdirSync(home), []);
      assert.deepEqual(readdirSync(place).sort(), others.sort());
    } finally {
      rmSync(place, { recursive: true });
    }
  });

  describe('that was killed before it took the link along', () => {
    let place: string;
    const link = () => join(home, 'one');
    beforeEach(() => {
      place = mkdtempSync(join(tmpdir(), 'job-place-'));
      renameSync(job.path, join(place, '.removed-one.7'));
      symlinkSync(join(place, 'one'), link());
    });
    afterEach(() => rmSync(place, { recursive: true, force: true }));

    it('is finished by the next removal, also over several links', () => {
      mkdirSync(join(place, '.removed-other.7'));
      // Relative to where it is.
      renameSync(link(), join(home, 'further'));
      symlinkSync('further', link());
      assert.ok(Job.finishRemoval(home, 'one'));
      assert.ok(!Job.finishRemoval(home, 'one'));
      assert.deepEqual(readdirSync(home), ['further']);
      assert.deepEqual(readdirSync(place), ['.removed-other.7']);
    });

    it('leaves the name free for another job', () => {
      const next = Job.make(home, 'one');
      assert.equal(next.path, realpathSync(link()));
      assert.deepEqual(readdirSync(place), []);
    });

    it('is not told from a directory of another user’s with such a name, which stays', function () {
      if (process.geteuid!() !== 0) cannotShow(this, 'only root can give a directory away');
      chownSync(join(place, '.removed-one.7'), 1500, 1500);
      assert.ok(!Job.finishRemoval(home, 'one'));
      assert.deepEqual(readdirSync(place), ['.removed-one.7']);
    });

    it('is told from a link to a file system that is mounted later, which stays', () => {
      renameSync(join(place, '.removed-one.7'), join(place, '.removed-other.7'));
      assert.ok(!Job.finishRemoval(home, 'one'));
      rmSync(place, { recursive: true });
      assert.ok(!Job.finishRemoval(home, 'one'));
      assert.ok(lstatSync(link()).isSymbolicLink());
    });
  });

  it('leaves files beside the jobs with names that only begin as those of killed removals', () => {
    const others = ['.removed-', '.removed-other', '.removed-other.txt'];
    for (const name of others) writeFileSync(join(home, name), '');
    job.remove(home);
    assert.deepEqual(readdirSync(home).sort(), others);
  });
});
