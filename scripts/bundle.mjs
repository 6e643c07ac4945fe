// Bundles the programs into one CommonJS file each, which Node loads in half the time of many, with their addons beside them; what
// the service needs only where an option says so, in a file of its own, because V8 keeps the text of what it has read; and
// the client library into a directory of its own, build/client, with its declarations.
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';
import { build } from 'esbuild';

const out = 'build/dist';
const client = 'build/client';
mkdirSync(out, { recursive: true });

const common = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  legalComments: 'none',
  logLevel: 'warning',
};

const program = {
  ...common,
  outdir: out,
  outExtension: { '.js': '.cjs' },
  format: 'cjs',
  // CommonJS has no import.meta; the files beside the bundle are found by its own path.
  define: { 'import.meta.url': 'bundleUrl' },
  banner: { js: "const bundleUrl = require('node:url').pathToFileURL(__filename).href;" },
};
await build({ ...program, entryPoints: ['src/bin/criuctl.ts'] });

/** By their names in import(): what winston, prom-client and commander bring along is more than all the rest. */
const optional = {
  './text-log.ts': 'src/systemd/text-log.ts',
  './metrics-text.ts': 'src/daemon/metrics-text.ts',
  '../daemon/command-line.ts': 'src/daemon/command-line.ts',
};
const inFilesOfTheirOwn = {
  name: 'optional',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\.?\// }, ({ kind, path }) =>
      kind === 'dynamic-import' && path in optional
        ? { path: `./${basename(path, '.ts')}.cjs`, external: true }
        : undefined,
    );
  },
};
for (const file of Object.values(optional)) await build({ ...program, banner: {}, entryPoints: [file] });
await build({
  ...program,
  entryPoints: ['src/bin/criu-service.ts'],
  plugins: [inFilesOfTheirOwn],
  // Node's own modules for import() are not needed for a file that is CommonJS.
  supported: { 'dynamic-import': false },
});

for (const name of ['criu-service', 'criuctl']) chmodSync(`${out}/${name}.cjs`, 0o755);
copyFileSync('native/build/Release/criu_service.node', `${out}/criu_service.node`);
copyFileSync('node_modules/sd-notify/build/Release/notify.node', `${out}/sd-notify.node`);
copyFileSync('native/build/Release/criu-launcher', `${out}/criu-launcher`);
copyFileSync('native/build/Release/criu-engine-preload.node', `${out}/criu-engine-preload.so`);
copyFileSync('units/unprivileged.conf', `${out}/unprivileged.conf`);

// Named as the shells look for them.
mkdirSync(`${out}/completions`, { recursive: true });
for (const [shell, file] of Object.entries({ bash: 'criuctl', zsh: '_criuctl', fish: 'criuctl.fish' })) {
  const script = execFileSync(process.execPath, [`${out}/criuctl.cjs`, 'completion', shell]);
  writeFileSync(`${out}/completions/${file}`, script);
}

rmSync(client, { recursive: true, force: true });
await build({
  ...common,
  entryPoints: ['src/client/index.ts'],
  outfile: `${client}/index.js`,
  format: 'esm',
  // protobufjs asks for modules that are not there; an ES module has no require to be asked.
  banner: {
    js: "import { createRequire as makeRequire } from 'node:module';\nconst require = makeRequire(import.meta.url);",
  },
});
copyFileSync('native/build/Release/criu_service.node', `${client}/criu_service.node`);
copyDeclarations('index.d.ts');
// The directory is a package by itself: a distribution installs it as it is.
const { name, version, description, license, engines } = JSON.parse(readFileSync('package.json', 'utf8'));
const own = {
  name,
  version,
  description,
  license,
  engines,
  type: 'module',
  exports: { '.': { types: './index.d.ts', default: './index.js' } },
};
writeFileSync(`${client}/package.json`, `${JSON.stringify(own, undefined, 2)}\n`);

/** What `file` exports, and no declaration of anything within. */
function copyDeclarations(file) {
  const source = readFileSync(join('build/declarations/client', file), 'utf8');
  writeFileSync(join(client, file), source);
  for (const [, needed] of source.matchAll(/from '(\.[^']*)\.ts'/g)) {
    const next = normalize(join(dirname(file), `${needed}.d.ts`));
    if (next.startsWith('..'))
      throw new Error(`The client's declarations need ${next}, which is not part of it`);
    copyDeclarations(next);
  }
}
