// Bundles the battery, and the measurement of verdicts, into ES modules; the addon lies beside it.
import { build } from 'esbuild';

await build({
  entryPoints: { battery: 'test/programs/all.ts', verdicts: 'test/programs/verdicts/all.ts' },
  outdir: process.argv[2],
  outExtension: { '.js': '.mjs' },
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  legalComments: 'none',
  logLevel: 'warning',
});
