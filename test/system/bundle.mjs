// Bundles the system tests of each boot, and the soak, into one CommonJS file, which an emulated machine loads in a fraction of the time, and
// copies mocha with what it needs. All are plain JavaScript; the addon lies beside the bundles.
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { copyMocha } from '../support/copy-mocha.mjs';

const payload = process.argv[2];

await build({
  entryPoints: {
    'system-tests': 'test/system/all.ts',
    'after-reboot': 'test/system/after-reboot.test.ts',
    soak: 'test/soak/all.ts',
  },
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

// The TypeScript examples, and programs of the tests, with the client library in the place that their readers use.
await build({
  entryPoints: {
    'examples/checkpoint': 'examples/typescript/checkpoint.ts',
    'examples/job': 'examples/typescript/job.ts',
    'clients/job-life': 'test/system/clients/job-life.ts',
    'clients/verdicts': 'test/system/clients/verdicts.ts',
  },
  outdir: payload,
  outExtension: { '.js': '.mjs' },
  format: 'esm',
  target: 'node20',
  logLevel: 'warning',
});
cpSync('build/client', join(payload, 'node_modules', 'criu-service'), { recursive: true });

copyMocha(payload);
