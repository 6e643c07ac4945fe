/** mocha with what it needs, for a machine without npm. The command line's own needs are left out: run.mjs starts mocha without it. */
import { cpSync, existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Copies it to node_modules of a directory. */
export function copyMocha(directory) {
  const copied = new Set();
  const copy = (name, from) => {
    const source = packageDirectory(name, from);
    const relative = source.slice(process.cwd().length + 1);
    if (copied.has(relative)) return;
    copied.add(relative);
    // A map is for a debugger, and browsers are elsewhere.
    const filter = (file) => !/\.map$|\/node_modules\/mocha\/mocha(-es2018)?\.js$/.test(file);
    cpSync(source, join(directory, relative), { recursive: true, filter });
    const { dependencies = {} } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8'));
    for (const need of Object.keys(dependencies)) copy(need, join(process.cwd(), relative));
  };
  copy('mocha', process.cwd());
}

/** The package directory that `from` resolves `name` to, as Node does: node_modules here, or further up. */
function packageDirectory(name, from) {
  for (let directory = from; ; directory = dirname(directory)) {
    const candidate = join(directory, 'node_modules', name);
    if (existsSync(candidate)) return candidate;
    if (directory === dirname(directory)) throw new Error(`${name} is not installed`);
  }
}
