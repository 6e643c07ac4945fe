/** zstd(1) is optional for users, and tests of compressed pages need it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cannotShow } from '../../../native/support.ts';

export function needsZstd(context: Mocha.Context): void {
  if (spawnSync('zstd', ['--version']).error)
    cannotShow(context, 'this machine has no zstd (apt install zstd)');
}

/** The bytes as zstd writes them with these options. */
export function zstd(bytes: Uint8Array, ...options: string[]): Buffer {
  const { status, stdout, stderr } = spawnSync('zstd', ['--quiet', '--stdout', ...options], {
    input: bytes,
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(`${stderr}`);
  return stdout;
}

/** As criuctl compresses them. */
export function compressedAs(bytes: Uint8Array): Buffer {
  return zstd(bytes, '--check', `--stream-size=${bytes.length}`);
}

/** Runs while this script is found for zstd; without a script, a file that cannot be executed. */
export async function withStrangeZstd<T>(script: string, use: () => Promise<T>): Promise<T> {
  const { PATH } = process.env;
  const directory = mkdtempSync(join(tmpdir(), 'strange-zstd-'));
  writeFileSync(join(directory, 'zstd'), script, { mode: script === '' ? 0o644 : 0o755 });
  process.env.PATH = script === '' ? directory : `${directory}:${PATH}`;
  try {
    return await use();
  } finally {
    process.env.PATH = PATH;
    rmSync(directory, { recursive: true });
  }
}

/** Runs while no program zstd is found. */
export async function withoutZstd<T>(use: () => Promise<T>): Promise<T> {
  const { PATH } = process.env;
  process.env.PATH = '/nowhere';
  try {
    return await use();
  } finally {
    process.env.PATH = PATH;
  }
}
