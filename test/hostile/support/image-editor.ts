/** Edits images of CRIU's (clients/images.py), in one process for the whole run. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { script } from '../../system/support/bench.ts';

let editor: { readonly child: ChildProcess; readonly answers: Interface } | undefined;

function start(): NonNullable<typeof editor> {
  const child = spawn('/usr/bin/python3', [script('images.py')], { stdio: ['pipe', 'pipe', 'inherit'] });
  return { child, answers: createInterface({ input: child.stdout as Readable }) };
}

/** Merges `change` into each entry of each of these files. */
export async function editImages(files: readonly string[], change: object): Promise<void> {
  editor ??= start();
  const { child, answers } = editor;
  const answer = new Promise<void>((resolve, reject) => {
    answers.once('line', () => resolve());
    answers.once('close', () => reject(new Error('The editor of images ended')));
  });
  (child.stdin as Writable).write(`${JSON.stringify({ files, change })}\n`);
  await answer;
  answers.removeAllListeners('line').removeAllListeners('close');
}

/** The run ends only after the editor has ended. */
after(() => {
  editor?.child.stdin?.end();
});
