/** criuctl check */
import { mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CheckOptions } from '../client/options.ts';
import { placesOf } from './directories.ts';
import type { Invocation, Outcome } from './invocation.ts';
import { withDefaults } from './work.ts';

export async function run(invocation: Invocation): Promise<Outcome> {
  const given = invocation.options.imagesDir !== undefined;
  // CRIU writes its log somewhere; unless it is asked for, nobody wants it where they stand.
  const directory = given ? placesOf(invocation.options).images : mkdtempSync(join(tmpdir(), 'criuctl-'));
  const options = optionsFor(invocation, directory, given);
  await invocation.client().check(options);
  // After a failure it stays: the log in it is what the error is about.
  if (!given) rmSync(directory, { recursive: true, force: true });
  return { sentence: 'The kernel is good enough', value: '', json: { verb: 'check', success: true } };
}

function optionsFor(invocation: Invocation, directory: string, given: boolean): CheckOptions {
  try {
    return withDefaults<CheckOptions>(invocation, { images: directory, work: directory }, 'neither');
  } catch (error) {
    // Not what is in it: where others can write above it that need not be what was made.
    if (!given) rmdirSync(directory);
    throw error;
  }
}
