// Bundles the tests into one CommonJS file, with mocha beside it; the addon lies there, too.
import { build } from 'esbuild';
import { copyMocha } from '../support/copy-mocha.mjs';

const payload = process.argv[2];

await build({
  entryPoints: { clusters: 'test/clusters/all.ts' },
  outdir: payload,
  outExtension: { '.js': '.cjs' },
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  define: { 'import.meta.url': 'bundleUrl' },
  banner: { js: "const bundleUrl = require('node:url').pathToFileURL(__filename).href;" },
  legalComments: 'none',
  logLevel: 'warning',
});
copyMocha(payload);
