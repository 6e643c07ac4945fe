/** Jobs as a program imports them: from the directory that a distribution installs. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Scripted } from '../unit/client/job/support/scripted.ts';

const root = resolve(import.meta.dirname, '..', '..');

describe('a program that imports criu-service/job', () => {
  let scripted: Scripted;
  before(() => {
    scripted = new Scripted();
    const modules = join(scripted.place, 'node_modules');
    mkdirSync(join(modules, '@types'), { recursive: true });
    symlinkSync(join(root, 'build', 'client'), join(modules, 'criu-service'));
    symlinkSync(join(root, 'node_modules', '@types', 'node'), join(modules, '@types', 'node'));
  });
  after(() => scripted.remove());

  function node(...argv: string[]): string {
    const { status, stdout, stderr } = spawnSync(process.execPath, argv, {
      encoding: 'utf8',
      cwd: scripted.place,
    });
    assert.equal(status, 0, stdout + stderr);
    return stdout;
  }

  it('compiles the examples of the documentation, against the declarations of the package', () => {
    const [, example] = /^```typescript\n(import [^`]*?from 'criu-service\/job'.*?)^```/ms.exec(
      readFileSync(join(root, 'README.md'), 'utf8'),
    )!;
    writeFileSync(join(scripted.place, 'readme.mts'), example!);
    for (const name of ['job', 'checkpoint']) {
      const text = readFileSync(join(root, 'examples', 'typescript', `${name}.ts`), 'utf8');
      writeFileSync(join(scripted.place, `${name}.mts`), text);
    }
    const options = ['--noEmit', '--module', 'nodenext', '--target', 'es2023', '--strict', '--types', 'node'];
    const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    node(compiler, ...options, '--skipLibCheck', 'false', 'readme.mts', 'job.mts', 'checkpoint.mts');
  });

  it('gets the class, with JavaScript’s require, too, and errors of a class that it can name', () => {
    scripted.answers('run', { pid: 7 });
    const said = node(
      '-e',
      `const { Job, JobError } = require('criu-service/job');
       const job = new Job('sim', { criuctl: './criuctl', dir: '.' });
       (async () => {
         console.log((await job.run(['a'])).pid);
         const stopped = job.events({ signal: AbortSignal.timeout(60_000) });
         console.log((await stopped.next()).value.type);
         await stopped.return();
         await job.state().catch((error) => console.log(error instanceof JobError, error.code));
       })();`,
    );
    assert.equal(said, '7\nabsent\ntrue DIRECTORY\n');
  });
});
