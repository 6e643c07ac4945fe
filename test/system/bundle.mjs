// Bundles the system tests of each boot, and the soak, into one CommonJS file, which an emulated machine loads in a fraction of the time, and
// copies mocha with what it needs. All are plain JavaScript; the addon lies beside the bundles.
import { cpSync, existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';

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

// The TypeScript example, with the client library in the place that its readers use.
await build({
  entryPoints: ['examples/typescript/checkpoint.ts'],
  outfile: join(payload, 'examples', 'checkpoint.mjs'),
  format: 'esm',
  target: 'node20',
  logLevel: 'warning',
});
cpSync('build/client', join(payload, 'node_modules', 'criu-service'), { recursive: true });

/** The package directory that `from` resolves `name` to, as Node does: node_modules here, or further up. */
function packageDirectory(name, from) {
  for (let directory = from; ; directory = dirname(directory)) {
    const candidate = join(directory, 'node_modules', name);
    if (existsSync(candidate)) return candidate;
    if (directory === dirname(directory)) throw new Error(`${name} is not installed`);
  }
}

// The command line's own needs are left out: run.sh starts mocha without it.
const copied = new Set();
function copyWithNeeds(name, from) {
  const source = packageDirectory(name, from);
  const relative = source.slice(process.cwd().length + 1);
  if (copied.has(relative)) return;
  copied.add(relative);
  // A map is for a debugger, and browsers are elsewhere.
  const filter = (file) => !/\.map$|\/node_modules\/mocha\/mocha(-es2018)?\.js$/.test(file);
  cpSync(source, join(payload, relative), { recursive: true, filter });
  const { dependencies = {} } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8'));
  for (const need of Object.keys(dependencies)) copyWithNeeds(need, join(process.cwd(), relative));
}
copyWithNeeds('mocha', process.cwd());
