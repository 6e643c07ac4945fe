// build.mjs DIRECTORY: bundles services that lack walls against attacks, for tests of each of the others (test/system/support/walls.ts).
// No package has one.
import { basename, dirname, join } from 'node:path';
import { bundleService } from '../../scripts/programs.mjs';

const directory = process.argv[2];

/** What stands in the place of which module of src/daemon, by the wall that it takes away. */
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
          // What stands in the place of a module may be made of it.
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
