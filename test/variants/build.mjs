// build.mjs DIRECTORY: bundles services that lack walls against attacks, for tests of each other wall
// (test/system/support/walls.ts). Packages never contain these services.
import { basename, dirname, join } from 'node:path';
import { bundleService } from '../../scripts/programs.mjs';

const directory = process.argv[2];

/** The modules of src that are replaced by files of this directory, by the wall that this removes. */
const walls = {
  held: ['why-held'],
  apart: ['verify-restored', 'machine', 'sweep'],
};

for (const without of [['held'], ['apart'], ['apart', 'held']]) {
  const modules = without.flatMap((wall) => walls[wall]);
  const replaced = new Set();
  await bundleService({ outfile: join(directory, `criu-service.without-${without.join('-')}.cjs`) }, [
    {
      name: 'variant',
      setup({ onResolve }) {
        onResolve({ filter: /^\.\.?\// }, ({ path, importer }) => {
          const module = basename(path, '.ts');
          // A replacement may import the module that it replaces.
          if (!modules.includes(module) || dirname(importer) === import.meta.dirname) return undefined;
          replaced.add(module);
          return { path: join(import.meta.dirname, `${module}.ts`) };
        });
      },
    },
  ]);
  const left = modules.filter((module) => !replaced.has(module));
  if (left.length > 0) throw new Error(`The service has no module ${left.join(', ')} to be replaced`);
}
