// copyright.mjs [--in-full]: prints the package's copyright file, in Debian's machine-readable format: the text of
// packaging/debian/copyright.in about this project, then a paragraph for every npm package whose code is in the package, with the
// text of its licence.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** node-addon-api is compiled into the addon; sd-notify is an addon itself. */
const native = ['node-addon-api', 'sd-notify'];

/** Debian's names for licences whose names in package.json are SPDX's. */
const debianNames = { MIT: 'Expat', ISC: 'ISC', 'BSD-3-Clause': 'BSD-3-clause', 'Apache-2.0': 'Apache-2.0' };

/**
 * Licences that Debian has on every machine are referred to instead of repeated, unless the file is for readers elsewhere, too.
 */
const common = process.argv.includes('--in-full')
  ? {}
  : {
      'Apache-2.0': 'On Debian systems the text of this licence is in /usr/share/common-licenses/Apache-2.0.',
    };

/** The innermost package of a bundled file: node_modules may hold node_modules. */
function packageOf(file) {
  return file.match(/^.*node_modules\/(?:@[^/]+\/)?[^/]+/)[0];
}

function licenceText(directory) {
  const file = readdirSync(directory).find((name) => /^licen[cs]e([.-]|$)/i.test(name));
  return file === undefined ? undefined : readFileSync(`${directory}/${file}`, 'utf8').trim();
}

/** A field of several lines: each line continues the field with a blank, and an empty line is a dot. */
function continued(text) {
  return text
    .split('\n')
    .map((line) => ` ${line.trimEnd() === '' ? '.' : line.trimEnd()}`)
    .join('\n');
}

function holders(text, { author, name }) {
  const lines = text.split('\n').map((line) => line.trim());
  const found = lines.filter(
    (line) => /^copyright\b.*(\d{4}|\(c\)|contributors)/i.test(line) && !line.includes('[yyyy]'),
  );
  if (found.length > 0) return found;
  const writer = typeof author === 'string' ? author : author?.name;
  return [writer ?? `the authors of ${name}`];
}

function paragraph(directory) {
  const about = JSON.parse(readFileSync(`${directory}/package.json`, 'utf8'));
  const licence = debianNames[about.license];
  const text = licenceText(directory);
  if (licence === undefined || text === undefined) {
    throw new Error(`${directory}: its licence, ${about.license}, needs a look before it is packaged`);
  }
  return [
    `Files: ${directory}/*`,
    `Copyright:\n${continued(holders(text, about).join('\n'))}`,
    `Comment: ${about.name} ${about.version}, from the npm registry`,
    `License: ${licence}\n${continued(common[licence] ?? text)}`,
  ].join('\n');
}

/** esbuild names the origin of each module above it in a bundle. */
function bundled(bundle) {
  const text = readFileSync(bundle, 'utf8');
  const directories = text
    .split('\n')
    .flatMap((line) => line.match(/^\s*\/\/ (node_modules\/\S+)$/)?.[1] ?? [])
    .map(packageOf);
  // A bundle may consist of our own modules alone.
  if (directories.length === 0 && !/^\s*\/\/ src\//m.test(text))
    throw new Error(`${bundle} does not tell what is in it: has it been minified?`);
  return directories;
}

const bundles = ['build/dist', 'build/client']
  .filter((directory) => existsSync(directory))
  .flatMap((directory) => readdirSync(directory, { recursive: true }).map((file) => join(directory, file)))
  .filter((file) => /\.[cm]?js$/.test(file));
const directories = new Set([...bundles.flatMap(bundled), ...native.map((name) => `node_modules/${name}`)]);

const own = readFileSync('packaging/debian/copyright.in', 'utf8').trim();
console.log([own, ...[...directories].sort().map(paragraph)].join('\n\n'));
