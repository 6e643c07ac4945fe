/** Directories that criuctl as root refuses before it sends a request, for every verb that makes CRIU read or write files. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  closeSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run as check } from '../../../src/cli/check.ts';
import { parseCommandLine } from '../../../src/cli/command-line.ts';
import { atNewFile, type ImageUse, newFile, placesOf } from '../../../src/cli/directories.ts';
import { type Invocation, Obstacle } from '../../../src/cli/invocation.ts';
import type { Verb } from '../../../src/cli/options/row.ts';
import { pidFileFor } from '../../../src/cli/pid-file.ts';
import { withDefaults } from '../../../src/cli/work.ts';
import { CriuError } from '../../../src/client/criu-error.ts';
import type { AnyOptions } from '../../../src/client/options.ts';
import { descriptors, openedSince } from '../../support/descriptors.ts';

const alice = 1500;

/** Each verb as it is typed, and its use of images. */
const verbs: readonly (readonly [request: string, words: readonly string[], does: ImageUse])[] = [
  ['DUMP', ['dump', '47'], 'writes'],
  ['PRE_DUMP', ['pre-dump', '47'], 'writes'],
  ['PAGE_SERVER', ['page-server'], 'writes'],
  ['CPUINFO_DUMP', ['cpuinfo', 'dump'], 'writes'],
  ['CPUINFO_CHECK', ['cpuinfo', 'check'], 'reads'],
  ['RESTORE', ['restore'], 'reads'],
  ['CHECK', ['check'], 'neither'],
];

describe('the directories of criuctl as root', () => {
  let directory = '';
  const at = (...names: string[]): string => join(directory, ...names);

  before(() => assert.equal(process.geteuid?.(), 0, 'these tests run as root'));
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'criuctl-directories-'));
    for (const name of ['hers', 'roots', 'work']) mkdirSync(at(name), { mode: 0o755 });
    chownSync(at('hers'), alice, 0);
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  function invocation(...words: string[]): Invocation {
    const parsed = parseCommandLine(words);
    assert.ok('verb' in parsed, words.join(' '));
    return {
      ...parsed,
      verb: parsed.verb as Verb,
      signal: new AbortController().signal,
      watched: false,
      client: () => assert.fail('somebody was asked'),
    };
  }

  function requestOf(does: ImageUse, ...words: string[]): AnyOptions {
    const invoked = invocation(...words);
    return withDefaults<AnyOptions>(invoked, placesOf(invoked.options), does);
  }

  function refused(what: () => unknown, sentence: RegExp, advice: RegExp): void {
    assert.throws(what, (error) => {
      assert.ok(error instanceof Obstacle, String(error));
      assert.equal(error.exitCode, 3);
      assert.match(error.message, sentence);
      assert.match(error.advice.join(), advice);
      return true;
    });
  }

  for (const [request, words, does] of verbs) {
    it(`are refused for ${words.join(' ')} if they are another user’s, unless it is told to trust them`, () => {
      const why =
        does === 'reads' ? 'whoever writes images decides' : 'whoever writes there decides which files';
      refused(
        () => requestOf(does, ...words, '-D', at('hers')),
        new RegExp(`^${request} refused: ${at('hers')} belongs to uid 1500, and ${why}`),
        does === 'reads'
          ? /^Restore as that user, or say --trust-images$/
          : /^Name .*root.*, or say --trust-images$/,
      );
      const { imagesDir } = requestOf(does, ...words, '-D', at('hers'), '--trust-images');
      assert.equal(imagesDir, at('hers'));
    });

    it(`are passed on as the descriptors that were checked for ${words.join(' ')}`, () => {
      const { imagesDir } = requestOf(does, ...words, '-D', at('roots'));
      assert.equal(fstatSync(imagesDir as number).ino, statSync(at('roots')).ino);
      closeSync(imagesDir as number);
    });

    it(`must not have a link where ${words.join(' ')} writes its log`, () => {
      const log = `${words[0]}.log`;
      symlinkSync('/etc/planted', at('roots', log));
      refused(
        () => requestOf(does, ...words, '-D', at('roots')),
        new RegExp(
          `^${request} refused: ${at('roots', log)} is a symbolic link, and root’s CRIU would write into it$`,
        ),
        /^Name a new directory, or say --trust-images$/,
      );
      const { imagesDir } = requestOf(does, ...words, '-D', at('roots'), '-o', 'another.log');
      closeSync(imagesDir as number);
    });
  }

  for (const [request, words, does] of verbs.filter(([, [verb]]) => verb !== 'check')) {
    it(`are refused for the log and the statistics of ${words.join(' ')}, too, if they are another user’s`, () => {
      refused(
        () => requestOf(does, ...words, '-D', at('roots'), '-W', at('hers')),
        new RegExp(
          `^${request} refused: ${at('hers')} belongs to uid 1500, and whoever writes there decides`,
        ),
        /^Name a directory that only root can write/,
      );
      const statistics = `work/${does === 'reads' ? 'stats-restore' : 'stats-dump'}`;
      writeFileSync(at(statistics), '', { mode: 0o666 });
      chmodSync(at(statistics), 0o666);
      refused(
        () => requestOf(does, ...words, '-D', at('roots'), '-W', at('work')),
        /work\/stats-(dump|restore) can be written by others \(mode 666\), and root’s CRIU would write into it$/,
        /^Name a new directory/,
      );
      rmSync(at(statistics));
      const { imagesDir, workDir } = requestOf(does, ...words, '-D', at('roots'), '-W', at('work'));
      assert.equal(fstatSync(workDir as number).ino, statSync(at('work')).ino);
      for (const fd of [imagesDir, workDir]) closeSync(fd as number);
    });
  }

  for (const [, words, does] of verbs.filter(([, , use]) => use === 'writes')) {
    it(`must not have another user’s image that ${words.join(' ')} would fill`, () => {
      writeFileSync(at('roots/pages-1.img'), '');
      chownSync(at('roots/pages-1.img'), alice, 0);
      refused(
        () => requestOf(does, ...words, '-D', at('roots')),
        /pages-1\.img belongs to uid 1500, and root’s CRIU would write into it$/,
        /^Name a new directory/,
      );
    });
  }

  for (const words of [['dump', '47'], ['pre-dump', '47'], ['page-server']]) {
    it(`must not follow another user’s images for ${words.join(' ')}`, () => {
      const onTop = [...words, '-D', at('roots'), '--prev-images-dir', '../hers'];
      refused(
        () => requestOf('writes', ...onTop),
        /hers belongs to uid 1500, and whoever writes images decides what root restores$/,
        /or say --trust-images$/,
      );
      assert.equal(requestOf('writes', ...onTop, '--trust-images').imagesDir, at('roots'));
      symlinkSync('../hers', at('roots/parent'));
      refused(
        () => requestOf('writes', ...words, '-D', at('roots')),
        /hers belongs to uid 1500, and whoever writes images decides what root restores$/,
        /or say --trust-images$/,
      );
    });
  }

  it('that are missing are reported with the same sentence as for other users', () => {
    assert.throws(
      () => requestOf('writes', 'dump', '47', '-D', at('none')),
      (error) => {
        assert.ok(error instanceof CriuError);
        assert.deepEqual([error.code, error.errnoName], ['DIRECTORY', 'ENOENT']);
        assert.equal(
          error.message,
          `Cannot open the directory ${at('none')}: ENOENT: no such file or directory`,
        );
        return true;
      },
    );
  });

  it('for a check without -D must not be below another user’s, and no file is left there', async () => {
    const { TMPDIR } = process.env;
    process.env.TMPDIR = at('hers');
    try {
      await assert.rejects(check(invocation('check')), /CHECK refused: .*hers belongs to uid 1500/);
      assert.deepEqual(readdirSync(at('hers')), []);
    } finally {
      if (TMPDIR === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = TMPDIR;
    }
  });

  it('for a new pid file may be like /tmp, unless others decide where the path leads', () => {
    const make = (directoryOfFile: string): string => {
      const named = join(directoryOfFile, 'pid');
      const restoring = invocation('restore', '--pidfile', named);
      atNewFile(restoring, named, (path) => writeFileSync(path, '47', { flag: 'wx' }));
      return readFileSync(join(directoryOfFile, 'pid'), 'utf8');
    };
    assert.equal(make(at('roots')), '47');
    chmodSync(at('work'), 0o1777);
    assert.equal(make(at('work')), '47');
    refused(() => make(at('hers')), /^RESTORE refused: .*hers belongs to uid 1500/, /--trust-images$/);
    symlinkSync('hers', at('link'));
    refused(() => make(at('link')), /^RESTORE refused: .*hers belongs to uid 1500/, /--trust-images$/);
    const trusted = invocation('restore', '--trust-images');
    assert.equal(newFile(trusted, at('hers/pid')).path, at('hers/pid'));
  });

  it('for a new file are open only while the file is used, also where that fails or is refused', () => {
    const before = descriptors();
    const restoring = invocation('restore');
    atNewFile(restoring, at('roots/pid'), () => assert.equal(openedSince(before).length, 1));
    assert.throws(() => atNewFile(restoring, at('roots/pid'), () => assert.fail('in use')), /in use/);
    assert.throws(() => newFile(restoring, at('hers/pid')), Obstacle);
    chmodSync(at('roots'), 0o777);
    assert.throws(() => newFile(restoring, at('roots/pid')), Obstacle);
    const file = newFile(restoring, at('work/pid'));
    file.close();
    file.close();
    assert.deepEqual(openedSince(before), []);
  });

  it('for a pid file are open until the pid is written, and not if the file exists', () => {
    const before = descriptors();
    const restoring = invocation('restore', '--pidfile', at('roots/pid'));
    const file = pidFileFor(restoring)!;
    file.write(47);
    file.close();
    assert.throws(() => pidFileFor(restoring), /exists already/);
    assert.equal(readFileSync(at('roots/pid'), 'utf8'), '47');
    assert.deepEqual(openedSince(before), []);
  });
});
