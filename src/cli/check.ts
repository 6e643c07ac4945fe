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
  // CRIU needs a directory for its log. Without -D, use a temporary directory instead of the current one.
  const directory = given ? placesOf(invocation.options).images : mkdtempSync(join(tmpdir(), 'criuctl-'));
  const options = optionsFor(invocation, directory, given);
  const { warning } = await invocation.client().check(options);
  // After a failure the directory stays, because the error refers to the log in it.
  if (!given) rmSync(directory, { recursive: true, force: true });
  return {
    sentence: 'The kernel is good enough',
    value: '',
    json: { verb: 'check', success: true, ...(warning === undefined ? {} : { warning }) },
    warnings: warning?.split('; ') ?? [],
  };
}

function optionsFor(invocation: Invocation, directory: string, given: boolean): CheckOptions {
  try {
    return withDefaults<CheckOptions>(invocation, { images: directory, work: directory }, 'neither');
  } catch (error) {
    // Remove only an empty directory: if others can write above it, it may not be the one that was created.
    if (!given) rmdirSync(directory);
    throw error;
  }
}
