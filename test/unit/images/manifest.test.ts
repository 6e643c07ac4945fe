/** The manifest of a dump: its content, its reader's patience with a hostile writer, and its part in a verification. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname, release } from 'node:os';
import { join } from 'node:path';
import { ImageDirectory } from '../../../src/images/image-directory.ts';
import {
  isNameOfFile,
  type Manifest,
  manifestText,
  mostManifestFiles,
  parseManifest,
} from '../../../src/images/manifest/format.ts';
import { cpuFacts } from '../../../src/images/manifest/machine-facts.ts';
import { readManifest } from '../../../src/images/manifest/read-manifest.ts';
import { writeManifest } from '../../../src/images/manifest/write-manifest.ts';
import { verify } from '../../../src/images/verify.ts';
import { smallDump } from './support/dump.ts';
import { image, openBelow, withFiles, withFilesDuring } from './support/encode.ts';
import { manifestOf, withManifest } from './support/manifest.ts';

const facts = { criu: '4.1.1', leftRunning: true, restoreWith: ['--tcp-established'] };
const intact = withManifest(smallDump());

function reasons(
  files: Readonly<Record<string, Uint8Array>>,
  spoil: (path: string) => void = () => undefined,
  thoroughness: 'all' | 'small' = 'all',
  withMachine = false,
): string[] {
  return withFiles(files, (path) => {
    spoil(path);
    const directory = new ImageDirectory(path);
    try {
      const machine = { processOf: () => undefined, userName: (uid: number) => `${uid}` };
      const me = { uid: 0, gid: 0, groups: [] };
      const found = verify(directory, me, withMachine ? machine : undefined, thoroughness);
      assert.deepEqual(openBelow('images-').length, 1, 'only the directory is open');
      return found.findings.items.map(
        ({ verdict, why }) => `${verdict === 'does-not-restore' ? 'N' : '?'} ${why}`,
      );
    } finally {
      directory.close();
    }
  });
}

describe('a manifest that is written', () => {
  it('tells the files with sizes and digests, the machine, the user, the clocks, the tree, and the options of a restore', async () => {
    await withFilesDuring(smallDump(), async (path) => {
      const written = await writeManifest(path, facts);
      assert.deepEqual(readManifest(path), written);
      const digests = execFileSync('sha256sum', ['--', ...Object.keys(smallDump())], {
        cwd: path,
        encoding: 'utf8',
      });
      const expected = new Map(
        digests
          .trim()
          .split('\n')
          .map((line) => line.split('  ').reverse() as [string, string]),
      );
      assert.deepEqual(
        written.files,
        Object.keys(smallDump())
          .sort()
          .map((name) => ({
            name,
            bytes: smallDump()[name]!.length,
            ...(name.startsWith('pages-') ? {} : { sha256: expected.get(name) }),
          })),
      );
      const { machine, user, clocks, tasks, criu, leftRunning, restoreWith } = written;
      assert.deepEqual(
        [machine.host, machine.kernel, machine.bootId],
        [hostname(), release(), readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()],
      );
      assert.deepEqual([user.uid, user.gid], [process.geteuid!(), process.getegid!()]);
      assert.ok(Math.abs(clocks.realtimeUsec / 1000 - Date.now()) < 60_000);
      assert.ok(clocks.monotonicUsec > 0 && clocks.boottimeUsec > 0);
      assert.deepEqual(tasks, [{ pid: 7, ppid: 0, threads: [7, 8], commandLine: ['sleep', '1000'] }]);
      assert.deepEqual([criu, leftRunning, restoreWith], ['4.1.1', true, ['--tcp-established']]);
      assert.equal(statSync(join(path, 'manifest.json')).mode & 0o777, 0o600);
      assert.deepEqual(readdirSync(path).sort(), [...Object.keys(smallDump()), 'manifest.json'].sort());
    });
  });

  it('has digests of pages on request, also of large ones', async () => {
    await withFilesDuring({ ...smallDump(), 'pages-2.img': Buffer.alloc(3 << 20, 7) }, async (path) => {
      const { files } = await writeManifest(path, facts, { digestPages: true });
      const [digest] = execFileSync('sha256sum', [join(path, 'pages-2.img')], { encoding: 'utf8' }).split(
        ' ',
      );
      assert.equal(files.find(({ name }) => name === 'pages-2.img')?.sha256, digest);
    });
  });

  it('lists the images of the rounds of a live dump, and no other file', async () => {
    await withFilesDuring({ ...smallDump(), 'dump.log': Buffer.from('log') }, async (path) => {
      mkdirSync(join(path, 'round-1'));
      mkdirSync(join(path, 'others'));
      writeFileSync(join(path, 'round-1', 'pages-1.img'), 'x');
      writeFileSync(join(path, 'round-1', 'dump.log'), 'x');
      writeFileSync(join(path, 'others', 'pages-1.img'), 'x');
      writeFileSync(join(path, 'cpuinfo.img'), 'x');
      const { files } = await writeManifest(path, facts);
      assert.deepEqual(
        files.map(({ name }) => name),
        [...Object.keys(smallDump()).sort(), 'round-1/pages-1.img'],
      );
    });
  });

  it('replaces an earlier manifest and an unfinished manifest, and no file of another program, through no link', async () => {
    await withFilesDuring(intact, async (path) => {
      const [at, unfinished] = [join(path, 'manifest.json'), join(path, 'manifest.json.new')];
      symlinkSync('victim', unfinished);
      await writeManifest(path, facts);
      assert.ok(!existsSync(join(path, 'victim')) && !existsSync(unfinished));
      for (const put of [
        () => writeFileSync(at, '{"name":"web"}'),
        () => symlinkSync('victim', at),
        () => execFileSync('mkfifo', [at]),
        () => mkdirSync(at),
      ]) {
        rmSync(at, { recursive: true });
        put();
        await assert.rejects(writeManifest(path, facts), {
          message: 'is there already, and is not of a dump',
        });
        assert.ok(!existsSync(unfinished));
      }
    });
  });

  it('is not there after a failure, which leaves no file open', async () => {
    await withFilesDuring(smallDump(), async (path) => {
      rmSync(join(path, 'core-8.img'));
      symlinkSync('core-7.img', join(path, 'core-8.img'));
      await assert.rejects(writeManifest(path, facts), /core-8\.img is a link/);
      assert.deepEqual(openBelow('images-'), []);
      assert.ok(!existsSync(join(path, 'manifest.json')));
    });
  });

  it('knows the features of a processor in any order', () => {
    const intel = cpuFacts('processor\t: 0\nmodel name\t: A  CPU\nflags\t\t: fpu vme sse\nbugs\t: x\n');
    assert.equal(intel.model, 'A  CPU');
    assert.equal(intel.flags, cpuFacts('flags\t: sse vme fpu\n').flags);
    assert.notEqual(intel.flags, cpuFacts('flags\t: sse vme\n').flags);
    assert.equal(cpuFacts('Features\t: a b\n').flags, cpuFacts('flags\t: b a\n').flags);
  });
});

describe('a manifest that is read', () => {
  const whole = manifestOf(smallDump());
  const [file] = whole.files;

  it('is absent from a text that begins in another way', () => {
    for (const text of ['', '{}', '[]', '{"version":1}', '{"name":"web","format":"criu-service.manifest"}'])
      assert.equal(parseManifest(text), undefined, text);
  });

  const changes: Readonly<Record<string, [object | string, RegExp]>> = {
    'that is cut off': [manifestText(whole).slice(0, -10), /no JSON/],
    'of a later version': [{ ...whole, version: 2 }, /has version 2 .* newer/],
    'with a list in the place of an object': [{ ...whole, machine: [] }, /no object at machine/],
    'with a number in the place of a text': [{ ...whole, written: 5 }, /no text written/],
    'with a size that is no whole number': [
      { ...whole, files: [{ ...file, bytes: 1.5 }] },
      /no number files\[0\]\.bytes/,
    ],
    'with a negative size': [{ ...whole, files: [{ ...file, bytes: -1 }] }, /no number files\[0\]\.bytes/],
    'with a short digest': [{ ...whole, files: [{ ...file, sha256: 'ab' }] }, /no SHA-256/],
    'that lists a file twice': [{ ...whole, files: [file, file] }, /twice/],
    'with a word that is no option': [{ ...whole, restoreWith: ['; rm -rf ~'] }, /no option/],
    'with more files than are read': [
      { ...whole, files: Array.from({ length: mostManifestFiles + 1 }, () => 0) },
      /100001 values in files/,
    ],
    'with more objects than manifests have': [
      manifestText(whole).replace('"sleep"', `${'[],'.repeat(1 << 17)}1`),
      /has 13\d\d\d\d objects and/,
    ],
    'with more values than manifests have': [
      manifestText(whole).replace('"sleep"', `${'0,'.repeat(1 << 20)}1`),
      /and 10\d{5} values, and/,
    ],
    'with objects as deep as it is long': [
      manifestText(whole).replace('"sleep"', `${'['.repeat(100_000)}${']'.repeat(100_000)}`),
      /no text commandLine/,
    ],
  };
  for (const [what, [value, why]] of Object.entries(changes)) {
    it(`${what} is refused, and the verdict is that it cannot be told`, () => {
      const text = typeof value === 'string' ? value : manifestText(value as Manifest);
      assert.throws(() => parseManifest(text), why);
      const found = reasons({ ...smallDump(), 'manifest.json': Buffer.from(text) });
      assert.equal(found.length, 1, found.join('\n'));
      assert.match(found[0]!, /^\? manifest\.json /);
      assert.match(found[0]!, why);
    });
  }

  it('names images in its directory and in rounds below it alone', () => {
    for (const name of ['core-1.img', 'round-1/pages-1.img', 'round-20/core-1.img'])
      assert.ok(isNameOfFile(name), name);
    for (const name of [
      '../core-1.img',
      '/etc/x.img',
      'round-0/x.img',
      'round-1/../x.img',
      'round-1/round-2/x.img',
      'other/x.img',
      '.x.img',
      '.img',
      'x\0.img',
      'x\n.img',
      'passwd',
      `${'x'.repeat(260)}.img`,
    ])
      assert.ok(!isNameOfFile(name), name);
  });

  it('of 17 MiB is refused before it is read, and a link, a FIFO or a directory counts as no manifest', () => {
    const found = reasons(intact, (path) => truncateSync(join(path, 'manifest.json'), 17 << 20));
    assert.match(found.join('\n'), /^\? manifest\.json has 17825792 bytes, and at most 16777216 are read$/);
    for (const put of [
      (at: string) => symlinkSync('/dev/zero', at),
      (at: string) => execFileSync('mkfifo', [at]),
      (at: string) => mkdirSync(at),
    ])
      assert.deepEqual(
        reasons(smallDump(), (path) => put(join(path, 'manifest.json'))),
        [],
      );
  });
});

describe('a verification of images with a manifest', () => {
  const inPlaceOf =
    (name: string, put: (at: string) => void) =>
    (path: string): void => {
      rmSync(join(path, name), { recursive: true });
      put(join(path, name));
    };

  it('finds nothing in whole images, and names the options that the restore needs', () => {
    assert.deepEqual(reasons(intact), []);
    withFiles(intact, (path) => {
      const directory = new ImageDirectory(path);
      assert.deepEqual(verify(directory, { uid: 0, gid: 0, groups: [] }, undefined).options, ['--shell-job']);
      directory.close();
    });
  });

  it('misses an image that no other image calls for', () => {
    const spoil = (path: string): void => rmSync(join(path, 'timens-0.img'));
    assert.deepEqual(reasons(smallDump(), spoil), []);
    assert.deepEqual(reasons(intact, spoil), ['N timens-0.img is missing: manifest.json lists it']);
  });

  it('finds an image that is shorter or longer, though it ends behind a record', () => {
    const files = { ...smallDump(), 'tcp-stream-1.img': Buffer.from('whole') };
    for (const text of ['whol', 'whole!'])
      assert.deepEqual(
        reasons(withManifest(files), (path) => writeFileSync(join(path, 'tcp-stream-1.img'), text)),
        [`N tcp-stream-1.img has ${text.length} bytes, and had 5 when the dump was complete`],
      );
  });

  it('finds a changed byte, in pages only if the manifest has their digest and they are to be read', () => {
    const flip =
      (name: string, at: number) =>
      (path: string): void => {
        const bytes = readFileSync(join(path, name));
        bytes[at]! ^= 1;
        writeFileSync(join(path, name), bytes);
      };
    // A register: the image is as good to CRIU as before.
    const changed = (name: string): string[] => [
      `N ${name} was changed after the dump: its digest is another`,
    ];
    const last = smallDump()['fdinfo-2.img']!.length - 1;
    assert.deepEqual(reasons(smallDump(), flip('fdinfo-2.img', last)), []);
    assert.deepEqual(reasons(intact, flip('fdinfo-2.img', last)), changed('fdinfo-2.img'));
    assert.deepEqual(reasons(intact, flip('pages-1.img', 5)), changed('pages-1.img'));
    assert.deepEqual(reasons(intact, flip('pages-1.img', 5), 'small'), []);
    const files = manifestOf(smallDump()).files.map(({ sha256, ...rest }) => rest);
    assert.deepEqual(reasons(withManifest(smallDump(), { files }), flip('pages-1.img', 5)), []);
  });

  it('tells a fault once, by the words of the images’ own logic', () => {
    assert.deepEqual(
      reasons(intact, (path) => rmSync(join(path, 'core-8.img'))),
      ['N core-8.img is missing: it has the registers of a thread'],
    );
  });

  it('follows no link in the place of a listed file or of a round, and waits for no FIFO', () => {
    const name = 'timens-0.img';
    const link = reasons(
      intact,
      inPlaceOf(name, (at) => symlinkSync('core-7.img', at)),
    );
    assert.deepEqual(link, [`? ${name} is a link, which is not followed`]);
    const fifo = reasons(
      intact,
      inPlaceOf(name, (at) => execFileSync('mkfifo', [at])),
    );
    assert.deepEqual(fifo, [`N ${name} is no regular file`]);
    const files = [...manifestOf(smallDump()).files, { name: 'round-1/pages-1.img', bytes: 0 }];
    const round = reasons(withManifest(smallDump(), { files }), (path) =>
      symlinkSync('.', join(path, 'round-1')),
    );
    assert.deepEqual(round, ['N round-1/pages-1.img is missing: manifest.json lists it']);
  });

  it('reads no terabyte of holes for a digest', () => {
    const bytes = 2 ** 40;
    const files = [...manifestOf(smallDump()).files, { name: 'x.img', bytes, sha256: 'a'.repeat(64) }];
    const found = reasons(withManifest(smallDump(), { files }), (path) => {
      writeFileSync(join(path, 'x.img'), '');
      truncateSync(join(path, 'x.img'), bytes);
    });
    assert.deepEqual(found, ['? x.img has more holes than are read for a digest']);
  });

  it('checks the rounds of a live dump', () => {
    const round = { name: 'round-1/pages-1.img', bytes: 4 };
    const files = withManifest(smallDump(), { files: [...manifestOf(smallDump()).files, round] });
    const put =
      (text: string) =>
      (path: string): void => {
        mkdirSync(join(path, 'round-1'));
        writeFileSync(join(path, 'round-1', 'pages-1.img'), text);
      };
    assert.deepEqual(reasons(files, put('four')), []);
    assert.match(reasons(files, put('three')).join(), /^N round-1\/pages-1\.img has 5 bytes, and had 4/);
  });

  it('checks the memory in the images before by their own manifest', () => {
    const beside = (spoil: (before: string) => void): string[] =>
      reasons(intact, (path) => {
        const before = join(path, 'before');
        mkdirSync(before);
        for (const [name, bytes] of Object.entries(intact)) writeFileSync(join(before, name), bytes);
        spoil(before);
        symlinkSync('before', join(path, 'parent'));
      });
    assert.deepEqual(
      beside(() => undefined),
      [],
    );
    assert.deepEqual(
      beside((before) => rmSync(join(before, 'timens-0.img'))),
      [],
    );
    assert.match(
      beside((before) => {
        const bytes = readFileSync(join(before, 'pagemap-7.img'));
        bytes[bytes.length - 1]! ^= 1;
        writeFileSync(join(before, 'pagemap-7.img'), bytes);
      }).join(),
      /^N .*before\/pagemap-7\.img was changed after the dump/,
    );
  });

  it('believes no manifest of an earlier dump into the same directory', () => {
    const inventory = (dump_uptime: number): Uint8Array =>
      image('INVENTORY', { img_version: 2, dump_uptime });
    const files = withManifest(
      { ...smallDump(), 'inventory.img': inventory(1), 'gone.img': Buffer.from('x') },
      { dumpUptime: 1 },
    );
    const found = reasons(files, (path) => {
      writeFileSync(join(path, 'inventory.img'), inventory(2));
      rmSync(join(path, 'gone.img'));
    });
    assert.equal(found.length, 1, found.join('\n'));
    assert.match(found[0]!, /^\? manifest\.json is of an earlier dump/);
  });

  it('believes no manifest that is older than all images and differs from them, as if another program had dumped there', () => {
    const touch = (path: string, ...names: string[]): void => {
      for (const name of names) utimesSync(join(path, name), 2_000_000_000, 2_000_000_000);
    };
    const each = ['inventory.img', 'pstree.img', 'files.img'];
    assert.deepEqual(
      reasons(intact, (path) => touch(path, ...each)),
      [],
    );
    const lost = (path: string): void => rmSync(join(path, 'timens-0.img'));
    const found = reasons(intact, (path) => {
      lost(path);
      touch(path, ...each);
    });
    assert.match(found.join('\n'), /^\? manifest\.json is of an earlier dump/);
    const some = reasons(intact, (path) => {
      lost(path);
      touch(path, 'inventory.img', 'files.img');
    });
    assert.deepEqual(some, ['N timens-0.img is missing: manifest.json lists it']);
  });

  it('cannot tell whether a dump of a processor with other features restores', () => {
    const machine = { ...manifestOf({}).machine, cpu: { model: 'Other', flags: 'x' } };
    const found = reasons(withManifest(smallDump(), { machine }), () => undefined, 'all', true);
    assert.match(found.join('\n'), /^\? the processor of the dump, Other, has other features/m);
  });
});
