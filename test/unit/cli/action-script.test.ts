import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ActionScripts } from '../../../src/cli/action-script.ts';
import type { Invocation } from '../../../src/cli/invocation.ts';

const directory = mkdtempSync(join(tmpdir(), 'action-script-'));
const told = join(directory, 'told');

function script(name: string, text: string, mode = 0o755): string {
  const path = join(directory, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode });
  return path;
}

function scripts(pid: number | undefined, ...actionScripts: string[]): ActionScripts | undefined {
  const signal = new AbortController().signal;
  return ActionScripts.for(
    { own: { actionScripts }, options: { pid }, signal } as unknown as Invocation,
    '/images',
    (sentence) => warnings.push(sentence),
  );
}

const warnings: string[] = [];

const telling = `echo "$CRTOOLS_SCRIPT_ACTION $CRTOOLS_IMAGE_DIR \${CRTOOLS_INIT_PID-none}" >>${told}`;

describe('scripts at the steps of CRIU', () => {
  it('get the step, the images, and the pid of the root once CRIU has told it', async () => {
    const all = scripts(undefined, script('tell', telling))!;
    await all.run({ script: 'pre-restore' });
    await all.run({ script: 'setup-namespaces', pid: 47 });
    await all.run({ script: 'post-resume' });
    await scripts(11, script('tell', telling))!.run({ script: 'post-dump' });
    assert.deepEqual(readFileSync(told, 'utf8').split('\n'), [
      'pre-restore /images none',
      'setup-namespaces /images 47',
      'post-resume /images 47',
      'post-dump /images 11',
      '',
    ]);
  });

  it('do not run at the steps that only a program can answer', async () => {
    const failing = scripts(1, script('fail', 'exit 3'))!;
    await failing.run({ script: 'orphan-pts-master' });
    await failing.run({ script: 'query-ext-files' });
  });

  it('fail the request, each with its status, where CRIU can undo its work', async () => {
    const failing = scripts(1, script('fail', 'exit 3'), script('die', 'kill -TERM $$'), script('good', ''))!;
    await assert.rejects(
      failing.run({ script: 'post-dump' }),
      /the script \S+fail ended with status 3 at post-dump; the script \S+die was ended by SIGTERM at post-dump$/,
    );
    const late = ['pre-resume', 'post-resume', 'network-unlock'];
    for (const step of late) await failing.run({ script: step });
    for (const [at, step] of late.entries())
      assert.match(warnings[at]!, new RegExp(`fail ended with status 3 at ${step}; `));
  });

  it('are refused before anything is asked if they cannot be run', () => {
    assert.throws(() => scripts(1, join(directory, 'none')), /none cannot be run: ENOENT/);
    assert.throws(() => scripts(1, directory), /is no file/);
    assert.equal(scripts(1), undefined);
  });
});
