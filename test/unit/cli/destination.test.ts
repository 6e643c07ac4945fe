/** The directory of a dump: images of two dumps never mix, and a failed dump keeps the earlier dump. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseCommandLine } from '../../../src/cli/command-line.ts';
import { fateAfter } from '../../../src/cli/destination.ts';
import { run as dump } from '../../../src/cli/dump.ts';
import { explain } from '../../../src/cli/explain.ts';
import { type Invocation, Obstacle } from '../../../src/cli/invocation.ts';
import type { Verb } from '../../../src/cli/options/row.ts';
import { run as restore } from '../../../src/cli/restore.ts';
import type { CriuClient } from '../../../src/client/client.ts';
import { CriuError, type CriuErrorCode } from '../../../src/client/criu-error.ts';
import type { DumpOptions } from '../../../src/client/options.ts';

const complete = ['core-1.img', 'inventory.img', 'pages-1.img'];
const unfinished = ['core-1.img', 'pages-1.img'];
const manifest = '{\n  "format": "criu-service.manifest"';

describe('the directory of a dump', () => {
  let directory = '';
  let target: ChildProcess;
  const at = (...names: string[]): string => join(directory, ...names);

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'criuctl-destination-'));
    target = spawn('sleep', ['1000'], { stdio: 'ignore' });
    await once(target, 'spawn');
  });
  afterEach(async () => {
    await end();
    rmSync(directory, { recursive: true });
  });

  async function end(): Promise<void> {
    if (target.exitCode !== null || target.signalCode !== null) return;
    target.kill('SIGKILL');
    await once(target, 'exit');
  }

  function fill(name: string, files: readonly string[], content: string): string {
    mkdirSync(at(name), { mode: 0o750 });
    for (const file of files) writeFileSync(at(name, file), content);
    return at(name);
  }

  /** Without a look at the target, which may have inherited anything. A service that lets `criu` write into the directory of a request. */
  function invocation(
    words: readonly string[],
    criu: (options: DumpOptions) => Promise<void>,
    manifestFailure?: Error,
  ): Invocation {
    const parsed = parseCommandLine([...words, ...(process.geteuid?.() === 0 ? ['--trust-images'] : [])]);
    assert.ok('verb' in parsed, words.join(' '));
    const client = {
      dump: (options: DumpOptions) =>
        criu(options).then(() => ({ restored: false, ...(manifestFailure ? { manifestFailure } : {}) })),
      restore: () => assert.fail('the service was asked'),
    } as unknown;
    return {
      ...parsed,
      verb: parsed.verb as Verb,
      signal: new AbortController().signal,
      watched: false,
      client: () => client as CriuClient,
    };
  }

  const writing =
    (files: readonly string[], error?: CriuError, before?: () => Promise<void>) =>
    async ({ imagesDir, workDir, logFile }: DumpOptions): Promise<void> => {
      for (const file of files) writeFileSync(join(imagesDir as string, file), 'new');
      writeFileSync(join((workDir ?? imagesDir) as string, logFile!), 'log');
      await before?.();
      if (error) throw error;
    };

  const dumped = (images: string, criu: (options: DumpOptions) => Promise<void>, ...more: string[]) =>
    dump(invocation(['dump', `${target.pid}`, '--force', '-D', images, ...more], criu));

  /** The sentence and the advice for a person. */
  async function failure(images: string, criu: (options: DumpOptions) => Promise<void>, ...more: string[]) {
    const invoked = invocation(['dump', `${target.pid}`, '--force', '-D', images, ...more], criu);
    try {
      await dump(invoked);
    } catch (error) {
      const { exitCode, message, advice } = await explain(error, invoked);
      return { exitCode, words: [message, ...advice].join('\n') };
    }
    return assert.fail('the dump succeeded');
  }

  const failed = (code: CriuErrorCode = 'FAILED'): CriuError =>
    new CriuError(code, 'DUMP failed: for a reason');
  const contents = (images: string): Record<string, string> =>
    Object.fromEntries(readdirSync(images).map((name) => [name, readFileSync(join(images, name), 'utf8')]));
  const earlier = Object.fromEntries(complete.map((name) => [name, 'old']));

  it('is made, for its user alone, if it does not exist', async () => {
    await dumped(at('new'), writing(complete));
    assert.deepEqual(readdirSync(at('new')), ['core-1.img', 'dump.log', 'inventory.img', 'pages-1.img']);
    assert.equal(statSync(at('new')).mode & 0o777, 0o700);
  });

  for (const [what, files, sentence] of [
    ['a dump', complete, /holds images of an earlier dump/],
    ['an unfinished dump', unfinished, /holds images of a dump that did not finish/],
  ] as const) {
    it(`with images of ${what} is refused before the service is asked, and stays as it is`, async () => {
      const images = fill('images', files, 'old');
      for (const more of [[], ['--live']]) {
        const { exitCode, words } = await failure(
          images,
          () => assert.fail('the service was asked'),
          ...more,
        );
        assert.equal(exitCode, 3);
        assert.match(words, sentence);
        assert.match(words, /--replace/);
      }
      assert.deepEqual(contents(images), Object.fromEntries(files.map((name) => [name, 'old'])));
    });
  }

  it('is empty again, but for the log, after a failure that CRIU reports', async () => {
    const { words } = await failure(at('new'), writing(unfinished, failed()));
    assert.match(words, /for a reason/);
    assert.deepEqual(readdirSync(at('new')), ['dump.log']);
    await dumped(at('new'), writing(complete));
  });

  it('loses the rounds of a live dump with its images, after a failure and when it is replaced', async () => {
    const round = async (images: string): Promise<void> => {
      mkdirSync(join(images, 'round-1'));
      for (const name of ['inventory.img', 'dump.log', 'stats-dump'])
        writeFileSync(join(images, 'round-1', name), 'new');
      symlinkSync('../0', join(images, 'round-1', 'parent'));
    };
    await failure(at('new'), async (options) => {
      await round(options.imagesDir as string);
      return writing(unfinished, failed())(options);
    });
    assert.deepEqual(readdirSync(at('new')), ['dump.log']);
    const images = fill('images', complete, 'old');
    await round(images);
    await dumped(images, writing(complete), '--replace');
    assert.deepEqual(readdirSync(images), ['core-1.img', 'dump.log', 'inventory.img', 'pages-1.img']);
    assert.deepEqual(readdirSync(directory).sort(), ['images', 'new']);
  });

  it('keeps the images of a process that has ended, in spite of a failure', async () => {
    for (const code of ['FAILED', 'CLOSED', 'ABORTED'] as const) {
      const images = at(code);
      const { words } = await failure(images, writing(complete, failed(code), end));
      assert.match(words, new RegExp(`The images in ${images} are complete: criuctl restore -D ${images}`));
      assert.deepEqual(readdirSync(images), ['core-1.img', 'dump.log', 'inventory.img', 'pages-1.img']);
    }
  });

  it('keeps the images of a process that has ended, and whose parent has not waited for it', async () => {
    // A shell that becomes a program that never waits.
    const parent = spawn('sh', ['-c', 'sleep 1000 & echo $!; exec sleep 1000'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    try {
      const [line] = await once(parent.stdout!, 'data');
      const pid = Number(String(line));
      const become = async (): Promise<void> => {
        process.kill(pid, 'SIGKILL');
        while (!/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1')))
          await new Promise((resolve) => setTimeout(resolve, 5));
      };
      const criu = writing(complete, failed(), become);
      await assert.rejects(dump(invocation(['dump', `${pid}`, '--force', '-D', at('new')], criu)));
      assert.ok(existsSync(at('new', 'inventory.img')));
    } finally {
      parent.kill('SIGKILL');
      await once(parent, 'exit');
    }
  });

  it('keeps everything while CRIU may still be at work', async () => {
    for (const code of ['CLOSED', 'ABORTED', 'PROTOCOL'] as const) {
      await failure(at(code), writing(unfinished, failed(code)));
      assert.deepEqual(readdirSync(at(code)), ['core-1.img', 'dump.log', 'pages-1.img']);
    }
  });

  it('with --replace is exchanged when the new images are complete, and keeps its mode', async () => {
    const images = fill('images', [...complete, 'core-2.img', 'dump.log', 'stats-dump'], 'old');
    let during: Record<string, string> = {};
    await dumped(
      images,
      writing(complete, undefined, async () => {
        during = contents(images);
      }),
      '--replace',
    );
    assert.equal(during['core-1.img'], 'old', 'the earlier images were there until the end');
    assert.deepEqual(contents(images), {
      ...Object.fromEntries(complete.map((name) => [name, 'new'])),
      'dump.log': 'log',
      'stats-dump': 'old',
    });
    assert.equal(statSync(images).mode & 0o777, 0o750);
    assert.deepEqual(readdirSync(directory), ['images']);
  });

  it('with --replace is as it was after a failure, and the message says so', async () => {
    const images = fill('images', complete, 'old');
    const { words } = await failure(images, writing(unfinished, failed()), '--replace');
    assert.match(words, new RegExp(`The earlier images in ${images} are as they were`));
    assert.deepEqual(contents(images), { ...earlier, 'dump.log': 'log' });
    assert.deepEqual(readdirSync(directory), ['images']);
  });

  it('with --replace keeps both dumps if the process has ended and the service says that it failed', async () => {
    const images = fill('images', complete, 'old');
    const { words } = await failure(images, writing(complete, failed('CLOSED'), end), '--replace');
    const aside = /The new images in (\S+) are complete/.exec(words)![1]!;
    assert.equal(contents(aside)['inventory.img'], 'new');
    assert.equal(contents(images)['inventory.img'], 'old');
  });

  it('with --replace is refused where a file of the user’s would be lost, or images that the new ones need', async () => {
    const refuse = () => assert.fail('the service was asked');
    const images = fill('images', complete, 'old');
    writeFileSync(join(images, 'notes.txt'), 'mine');
    assert.match((await failure(images, refuse, '--replace')).words, /notes\.txt in it is no file of a dump/);
    fill('1', complete, 'old');
    fill('2', complete, 'old');
    symlinkSync('../1', at('2', 'parent'));
    const chain = await failure(at('1'), refuse, '--replace', '--prev-images-dir', '../2');
    assert.match(chain.words, /the new images need the ones in it/);
    for (const parent of [at('1'), '.']) {
      const { words } = await failure(at('1'), refuse, '--replace', '--prev-images-dir', parent);
      assert.match(words, /the new images need the ones in it/, parent);
    }
    assert.deepEqual(contents(at('1')), earlier);
    mkdirSync(at('1', 'round-1'));
    const round = await failure(at('1'), refuse, '--replace', '--prev-images-dir', '../1/round-1');
    assert.match(round.words, /the new images need the ones in it/);
    writeFileSync(at('1', 'round-1', 'mine'), 'mine');
    assert.match(
      (await failure(at('1'), refuse, '--replace')).words,
      /round-1\/mine in it is no file of a dump/,
    );
    assert.deepEqual(readdirSync(directory), ['1', '2', 'images']);
  });

  it('with --replace is refused where no directory can be made or exchanged beside it, and the service is not asked', async () => {
    const refuse = () => assert.fail('the service was asked');
    const images = fill('images', complete, 'old');
    const before = process.cwd();
    process.chdir(images);
    try {
      assert.match((await failure('.', refuse, '--replace')).words, /it is the current directory/);
    } finally {
      process.chdir(before);
    }
    // A name that is longer than the kernel allows.
    const long = 'l'.repeat(255);
    const { exitCode, words } = await failure(fill(long, complete, 'old'), refuse, '--replace');
    assert.equal(exitCode, 5);
    assert.match(words, /no directory can be made beside it: ENAMETOOLONG/);
    assert.doesNotMatch(words, /fault of criuctl/);
    assert.deepEqual(contents(at(long)), earlier);
    assert.deepEqual(readdirSync(directory), ['images', long]);
  });

  for (const [name, content] of [
    ['disk.img', 'a file system'],
    ['progress.log', '1 of 10'],
    ['parent', 'no link'],
  ] as const) {
    it(`keeps a file ${name} that no dump has written, after a failure, and is refused with --replace`, async () => {
      const mine = async (options: DumpOptions): Promise<void> => {
        writeFileSync(join(options.imagesDir as string, name), content);
        await writing(unfinished, failed())(options);
      };
      await failure(at('new'), mine);
      assert.equal(contents(at('new'))[name], content);
      for (const file of complete) writeFileSync(at('new', file), 'old');
      const { words } = await failure(at('new'), () => assert.fail('the service was asked'), '--replace');
      assert.match(words, new RegExp(`${name} in it is no file of a dump`));
      assert.equal(contents(at('new'))[name], content);
    });
  }

  it('with --replace loses an image and a log of any name that CRIU has written', async () => {
    const images = fill('images', complete, 'old');
    // IMG_COMMON_MAGIC, as in every image of a newer kind.
    writeFileSync(join(images, 'novelty-1.img'), Buffer.from('19435654ffffffff', 'hex'));
    writeFileSync(join(images, 'mine.log'), '(00.000000) Version: 4.1 (gitid 0)\n');
    await dumped(images, writing(complete), '--replace');
    assert.deepEqual(readdirSync(images), ['core-1.img', 'dump.log', 'inventory.img', 'pages-1.img']);
  });

  for (const [state, files, more] of [
    ['empty', [], []],
    ['full, and is to be replaced', complete, ['--replace']],
  ] as const) {
    it(`takes a single dump at a time, also if it is ${state}, and the next one afterwards`, async () => {
      const images = fill('images', files, 'old');
      await dumped(
        images,
        async (options) => {
          for (const other of [[], ['--replace']]) {
            const { exitCode, words } = await failure(
              images,
              () => assert.fail('the service was asked'),
              ...other,
            );
            assert.equal(exitCode, 3);
            assert.match(words, /another criuctl dumps into/);
          }
          await writing(complete)(options);
        },
        ...more,
      );
      assert.equal(contents(images)['inventory.img'], 'new');
      await dumped(images, writing(complete), '--replace');
      assert.ok(!existsSync(join(images, 'criuctl.lock')));
      assert.deepEqual(readdirSync(directory), ['images']);
    });
  }

  it('with --replace keeps both dumps if they cannot be exchanged, and says where they are', async () => {
    const images = fill('images', complete, 'old');
    const moved = async (): Promise<void> => renameSync(images, at('moved'));
    const { exitCode, words } = await failure(images, writing(complete, undefined, moved), '--replace');
    assert.equal(exitCode, 1);
    const aside = /The images are complete in (\S+), and could not take the place/.exec(words)![1]!;
    assert.doesNotMatch(words, /fault of criuctl/);
    assert.equal(contents(aside)['inventory.img'], 'new');
    assert.deepEqual(contents(at('moved')), { ...earlier, 'dump.log': 'log' });
  });

  it('may hold the features of the CPU, which no dump of a tree has written', async () => {
    const images = fill('images', ['cpuinfo.img'], 'old');
    await failure(images, writing(unfinished, failed()));
    assert.deepEqual(readdirSync(images), ['cpuinfo.img', 'dump.log']);
    await dumped(images, writing(complete));
    assert.equal(contents(images)['inventory.img'], 'new');
  });

  it('of a dump that did not finish is never restored', async () => {
    const images = fill('images', unfinished, 'old');
    const invoked = invocation(['restore', '-D', images], async () => {});
    await assert.rejects(restore(invoked), (error) => {
      assert.ok(error instanceof Obstacle);
      assert.match(error.message, /is incomplete: .*inventory\.img is missing/);
      return true;
    });
    assert.ok(existsSync(join(images, 'core-1.img')));
  });

  it('has no manifest of an earlier dump while a new dump is at work, and a file of another program stays', async () => {
    const [images, web] = [at('new'), at('web')];
    for (const path of [images, web]) mkdirSync(path);
    writeFileSync(join(images, 'manifest.json'), manifest);
    writeFileSync(join(web, 'manifest.json'), '{"name":"web"}');
    await dumped(images, async (options) => {
      assert.deepEqual(readdirSync(images), ['criuctl.lock']);
      await writing(complete)(options);
    });
    await dumped(web, writing(complete));
    assert.equal(contents(web)['manifest.json'], '{"name":"web"}');
  });

  it('with --replace loses the manifest of the earlier dump, and is refused with a file of that name of another program', async () => {
    const images = fill('images', complete, 'old');
    writeFileSync(join(images, 'manifest.json'), '{"name":"web"}');
    const { words } = await failure(images, () => assert.fail('the service was asked'), '--replace');
    assert.match(words, /manifest\.json in it is no file of a dump/);
    writeFileSync(join(images, 'manifest.json'), manifest);
    await dumped(images, writing([...complete, 'manifest.json']), '--replace');
    assert.equal(contents(images)['manifest.json'], 'new');
    assert.deepEqual(readdirSync(directory), ['images']);
  });

  it('is a success with a warning if the manifest could not be written', async () => {
    const invoked = invocation(
      ['dump', `${target.pid}`, '--force', '-D', at('new')],
      writing(complete),
      new Error("ENOSPC: no space left on device, write '/proc/self/fd/17/manifest.json.new'"),
    );
    const { warnings, exitCode = 0, json } = await dump(invoked);
    const why = 'the images are complete, and have no manifest: ENOSPC: no space left on device';
    assert.deepEqual([warnings, exitCode, (json as { warning: string }).warning], [[why], 0, why]);
  });

  it('loses images only if nothing was begun, or CRIU failed and the process runs', () => {
    const table: readonly (readonly [CriuErrorCode, runs: boolean, 'nothing' | 'unknown'])[] = [
      ['INVALID', true, 'nothing'],
      ['DIRECTORY', true, 'nothing'],
      ['UNREACHABLE', true, 'nothing'],
      ['FAILED', true, 'nothing'],
      ['FAILED', false, 'unknown'],
      ['NOTIFICATION', true, 'nothing'],
      ['NOTIFICATION', false, 'unknown'],
      ['ABORTED', true, 'unknown'],
      ['CLOSED', true, 'unknown'],
      ['PROTOCOL', true, 'unknown'],
    ];
    for (const [code, runs, fate] of table)
      assert.equal(fateAfter(failed(code), runs), fate, `${code} ${runs}`);
    assert.equal(fateAfter(new Obstacle(3, 'refused'), true), 'nothing');
    assert.equal(fateAfter(new TypeError('a fault'), true), 'unknown');
  });
});
