/** criuctl check */
import { mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CriuError } from '../client/criu-error.ts';
import type { CheckOptions } from '../client/options.ts';
import type { CriuVersion } from '../client/results.ts';
import { sanitize } from '../systemd/log.ts';
import { placesOf } from './directories.ts';
import type { Invocation, Outcome } from './invocation.ts';
import type { MachineFinding } from './machine.ts';
import { withDefaults } from './work.ts';

export async function run(invocation: Invocation): Promise<Outcome> {
  const given = invocation.options.imagesDir !== undefined;
  // CRIU needs a directory for its log. Without -D, use a temporary directory instead of the current one.
  const directory = given ? placesOf(invocation.options).images : mkdtempSync(join(tmpdir(), 'criuctl-'));
  const options = optionsFor(invocation, directory, given);
  const checked = await checkedBy(invocation, options);
  const findings = await findingsFor(invocation);
  if ('error' in checked) {
    // CRIU's failure may come from what was found here, such as Yama.
    if (!invocation.own.json) for (const each of findings.flatMap(warningsOf)) warn(each);
    throw checked.error;
  }
  const { warning } = checked;
  // After a failure the directory stays, because the error refers to the log in it.
  if (!given) rmSync(directory, { recursive: true, force: true });
  const limits = findings.flatMap(({ limits }) => limits);
  return {
    sentence: ['The kernel is good enough', ...findings.map(rowOf)].join('\n'),
    value: '',
    json: { verb: 'check', success: true, ...(warning === undefined ? {} : { warning }), findings },
    // The service may know a CRIU of its own.
    warnings: [
      ...(warning?.split('; ') ?? []).filter((each) => !limits.includes(each)),
      ...findings.flatMap(warningsOf),
    ],
  };
}

async function checkedBy(
  invocation: Invocation,
  options: CheckOptions,
): Promise<{ readonly warning?: string } | { readonly error: CriuError }> {
  try {
    return await invocation.client().check(options);
  } catch (error) {
    if (error instanceof CriuError && error.code === 'FAILED') return { error };
    throw error;
  }
}

async function findingsFor(invocation: Invocation): Promise<readonly MachineFinding[]> {
  // A file of its own: other verbs start without it.
  const { machineFindings } = await import('./machine.ts');
  return machineFindings(await toldVersion(invocation));
}

function warn(sentence: string): void {
  process.stderr.write(`criuctl: warning: ${sanitize(sentence)}\n`);
}

function rowOf({ subject, found }: MachineFinding): string {
  return `${subject.padEnd(13)} ${found}`;
}

function warningsOf({ subject, found, limits, remedy }: MachineFinding): readonly string[] {
  const shown = subject === 'CRIU' || subject === 'Linux' ? '' : `${found}: `;
  return limits.map(
    (limit, at) => `${at === 0 ? shown : ''}${limit}${at > 0 || !remedy ? '' : `. ${remedy}`}`,
  );
}

/** The service's own word; undefined if it has none. */
async function toldVersion(invocation: Invocation): Promise<CriuVersion | undefined> {
  try {
    return await invocation.client().version({ signal: invocation.signal });
  } catch {
    return undefined;
  }
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
