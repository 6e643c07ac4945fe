/** A manifest for a small dump, for tests to spoil. */
import { createHash } from 'node:crypto';
import { type Manifest, type ManifestFile, manifestText } from '../../../../src/images/manifest/format.ts';
import { cpuHere } from '../../../../src/images/manifest/machine-facts.ts';

export function listed(name: string, bytes: Uint8Array): ManifestFile {
  return { name, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}

export function manifestOf(
  files: Readonly<Record<string, Uint8Array>>,
  more: Partial<Manifest> = {},
): Manifest {
  return {
    version: 1,
    written: '2026-01-01T00:00:00.000Z',
    machine: {
      id: '0'.repeat(32),
      bootId: 'boot',
      host: 'host',
      kernel: '6.12.0',
      architecture: 'x86_64',
      cpu: cpuHere(),
    },
    criu: '4.1.1',
    user: { uid: 1000, gid: 1000, name: 'alice' },
    clocks: { realtimeUsec: 3, monotonicUsec: 2, boottimeUsec: 1 },
    tasks: [{ pid: 7, ppid: 0, threads: [7, 8], commandLine: ['sleep', '1000'] }],
    moreTasks: 0,
    leftRunning: false,
    restoreWith: ['--shell-job'],
    files: Object.entries(files).map(([name, bytes]) => listed(name, bytes)),
    ...more,
  };
}

/** The files with a manifest of them. */
export function withManifest(
  files: Readonly<Record<string, Uint8Array>>,
  more: Partial<Manifest> = {},
): Record<string, Uint8Array> {
  return { ...files, 'manifest.json': Buffer.from(manifestText(manifestOf(files, more))) };
}
