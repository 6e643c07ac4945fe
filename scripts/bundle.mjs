// Bundles the programs (programs.mjs), with their addons beside them, and the client library with its reader of images and its jobs into a directory of its own, build/client,
// with its declarations.
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { build } from 'esbuild';
import {
  bundleCriuctl,
  bundleDropIn,
  bundleService,
  common,
  optional,
  optionalOfCriuctl,
  program,
} from './programs.mjs';

const out = 'build/dist';
const client = 'build/client';
const copied = new Set();
mkdirSync(out, { recursive: true });

await bundleCriuctl({ outdir: out });
for (const file of Object.values(optionalOfCriuctl))
  await build({ ...program, outdir: out, entryPoints: [file] });
for (const file of Object.values(optional))
  await build({ ...program, outdir: out, banner: {}, entryPoints: [file] });
await bundleService({ outdir: out });
await bundleDropIn({ outdir: out });

for (const name of ['criu-service', 'criuctl', 'criu-swrk']) chmodSync(`${out}/${name}.cjs`, 0o755);
// In a directory of its own, which a PATH can begin with.
mkdirSync(`${out}/bin`, { recursive: true });
copyFileSync('src/bin/criu.sh', `${out}/bin/criu`);
chmodSync(`${out}/bin/criu`, 0o755);
copyFileSync('native/build/Release/criu_service.node', `${out}/criu_service.node`);
copyFileSync('node_modules/sd-notify/build/Release/notify.node', `${out}/sd-notify.node`);
copyFileSync('native/build/Release/criu-launcher', `${out}/criu-launcher`);
copyFileSync('native/build/Release/criu-grant', `${out}/criu-grant`);
copyFileSync('native/build/Release/criu-pids', `${out}/criu-pids`);
copyFileSync('native/build/Release/criu-job-root', `${out}/criu-job-root`);
copyFileSync('native/build/Release/criu-job-claim', `${out}/criu-job-claim`);
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
  entryPoints: { index: 'src/client/index.ts', 'images/index': 'src/images/index.ts' },
  outdir: client,
  format: 'esm',
  // Code that a program may never need is in files of its own.
  splitting: true,
  // protobufjs tries to require modules that are absent, and an ES module has no require.
  banner: {
    js: "import { createRequire as makeRequire } from 'node:module';\nconst require = makeRequire(import.meta.url);",
  },
});
// Jobs need little else of the library. The addon is beside this file, too.
await build({
  ...common,
  entryPoints: { job: 'src/client/job/index.ts' },
  outdir: client,
  format: 'esm',
});
copyFileSync('native/build/Release/criu_service.node', `${client}/criu_service.node`);
copyDeclarations('client', '.', 'index.d.ts');
copyDeclarations('images', 'images', 'index.d.ts');
copyDeclarations('client/job', 'job', 'index.d.ts');
// The directory is a package by itself: a distribution installs it as it is.
const { name, version, description, license, engines } = JSON.parse(readFileSync('package.json', 'utf8'));
const own = {
  name,
  version,
  description,
  license,
  engines,
  type: 'module',
  exports: {
    '.': { types: './index.d.ts', default: './index.js' },
    './images': { types: './images/index.d.ts', default: './images/index.js' },
    './job': { types: './job/index.d.ts', default: './job.js' },
  },
};
writeFileSync(`${client}/package.json`, `${JSON.stringify(own, undefined, 2)}\n`);

/**
 * The exports of `file` in a room of src, without declarations of internal names.
 * @param place of the room in the package.
 */
function copyDeclarations(room, place, file) {
  const source = readFileSync(join('build/declarations', room, file), 'utf8');
  mkdirSync(dirname(join(client, place, file)), { recursive: true });
  writeFileSync(join(client, place, file), source);
  for (const [, needed] of source.matchAll(/from '(\.[^']*)\.ts'/g)) {
    const next = normalize(join(dirname(file), `${needed}.d.ts`));
    if (next.startsWith('..'))
      throw new Error(`The declarations of ${room} need ${next}, which is not part of it`);
    if (!copied.has(`${room}/${next}`)) {
      copied.add(`${room}/${next}`);
      copyDeclarations(room, place, next);
    }
  }
}
