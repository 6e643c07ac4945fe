/** criuctl check */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Invocation, Outcome } from './invocation.ts';
import { placesOf, withDefaults } from './work.ts';

export async function run(invocation: Invocation): Promise<Outcome> {
  const given = invocation.options.imagesDir !== undefined;
  // CRIU writes its log somewhere; unless it is asked for, nobody wants it where they stand.
  const directory = given ? placesOf(invocation.options).images : mkdtempSync(join(tmpdir(), 'criuctl-'));
  await invocation.client().check(withDefaults(invocation, { images: directory, work: directory }));
  // After a failure it stays: the log in it is what the error is about.
  if (!given) rmSync(directory, { recursive: true, force: true });
  return { sentence: 'The kernel is good enough', value: '', json: { verb: 'check', success: true } };
}
