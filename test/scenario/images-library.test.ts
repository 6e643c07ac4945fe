/** The reader of images as a program imports it: from the directory that a distribution installs. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { smallDump } from '../unit/images/support/dump.ts';
import { withManifest } from '../unit/images/support/manifest.ts';

const root = resolve(import.meta.dirname, '..', '..');

describe('a program that imports criu-service/images', () => {
  let place = '';
  before(() => {
    place = mkdtempSync(join(tmpdir(), 'images-library-'));
    mkdirSync(join(place, 'node_modules', '@types'), { recursive: true });
    symlinkSync(join(root, 'build', 'client'), join(place, 'node_modules', 'criu-service'));
    symlinkSync(join(root, 'node_modules', '@types', 'node'), join(place, 'node_modules', '@types', 'node'));
    mkdirSync(join(place, 'dump'));
    for (const [name, bytes] of Object.entries(withManifest(smallDump())))
      writeFileSync(join(place, 'dump', name), bytes);
  });
  after(() => rmSync(place, { recursive: true }));

  function node(...argv: string[]): string {
    const { status, stdout, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8', cwd: place });
    assert.equal(status, 0, stdout + stderr);
    return stdout;
  }

  it('compiles and runs the example of the documentation, against the declarations of the package', () => {
    const [, example] = /^```typescript\n(import [^`]*?from 'criu-service\/images'.*?)^```/ms.exec(
      readFileSync(join(root, 'docs', 'IMAGES.md'), 'utf8'),
    )!;
    writeFileSync(join(place, 'example.mts'), example!);
    const options = [
      '--module',
      'nodenext',
      '--target',
      'es2023',
      '--strict',
      '--types',
      'node',
      '--skipLibCheck',
      'false',
    ];
    node(join(root, 'node_modules', 'typescript', 'bin', 'tsc'), ...options, 'example.mts');
    const said = node('example.mjs', 'dump');
    assert.match(said, /^dump \[ '7 sleep 1000' \]$/m);
    assert.match(said, /^host$/m);
    assert.match(said, /^7 0$/m);
  });

  it('gets each function, with JavaScript’s require, too, and errors of a class that it can name', () => {
    const said = node(
      '-e',
      `const images = require('criu-service/images');
       const { changed, same } = images.compareImages('dump', 'dump').tasks[0].memory;
       let text = '';
       images.decodeImage('dump/pstree.img', (piece) => { text += piece; });
       images.writeManifest('dump', { leftRunning: false, restoreWith: [] }).then((written) => {
         console.log(JSON.stringify([
           changed, same, JSON.parse(text).magic, images.imageSizes('dump').directories.length,
           images.pruneImages('.', 1).checkpoints, written.files.length === images.readManifest('dump').files.length,
           images.verifyImages('dump', { machine: false }).verdict,
         ]));
         try { [...images.readImage('dump/none.img')]; } catch (error) { console.log(error instanceof images.ImageError); }
       });`,
    );
    assert.equal(said, '[0,12288,"PSTREE",1,[],true,"restores"]\ntrue\n');
  });
});
