// Bundles the battery into an ES module; the addon lies beside it.
import { build } from 'esbuild';

await build({
  entryPoints: { programs: 'test/programs/all.ts' },
  outdir: process.argv[2],
  outExtension: { '.js': '.mjs' },
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  legalComments: 'none',
  logLevel: 'warning',
});
