/** The package for Fedora and its relatives, before it is installed: its files and its metadata. */
import assert from 'node:assert/strict';
import { lstatSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { version } from '../../src/version.ts';
import { freshDirectory, run } from './support/bench.ts';
import { itElsewhere } from './support/it.ts';
import { packageFile, rpm } from './support/package.ts';

/** The places of shared files in the two distributions. */
const places: readonly (readonly [debian: RegExp, fedora: string])[] = [
  [/^usr\/lib\/[^/]+-linux-gnu\/nodejs\//, 'usr/lib/node_modules/'],
  [/^usr\/share\/zsh\/vendor-completions\//, 'usr/share/zsh/site-functions/'],
  [/^usr\/share\/doc\/criu-service\/copyright$/, 'usr/share/licenses/criu-service/copyright'],
];
const debianOnly = ['usr/share/doc/criu-service/changelog.gz', 'usr/share/lintian/overrides/criu-service'];
const fedoraOnly = ['usr/share/licenses/criu-service/LICENSE'];

/** Paths below a directory, without directories. */
function filesBelow(directory: string): string[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .sort();
}

/** @returns what `rpm --query` prints in this format. */
function query(format: string): string {
  return run('rpm', '--query', '--queryformat', format, '--package', packageFile('rpm'));
}

const lines = (format: string): string[] => query(`[${format}\\n]`).trim().split('\n');

/** Both packages, unpacked and not installed: no script has run. */
let unpacked: { readonly deb: string; readonly rpm: string };

describe('the rpm', () => {
  before(() => {
    unpacked = { deb: freshDirectory(), rpm: freshDirectory() };
    run('dpkg-deb', '--extract', packageFile('deb'), unpacked.deb);
    rpm(`--root=${unpacked.rpm}`, '--noscripts', '--install', packageFile('rpm'));
    rmSync(join(unpacked.rpm, 'var'), { recursive: true });
  });

  after(() => {
    for (const directory of Object.values(unpacked)) rmSync(directory, { recursive: true });
  });

  itElsewhere('has the files of the Debian package, where Fedora looks for them', () => {
    const moved = (path: string) => places.reduce((to, [debian, fedora]) => to.replace(debian, fedora), path);
    const inDeb = filesBelow(unpacked.deb).filter((path) => !debianOnly.includes(path));
    const inRpm = filesBelow(unpacked.rpm).filter((path) => !fedoraOnly.includes(path));
    assert.deepEqual(inRpm, inDeb.map(moved).sort());
    for (const path of inDeb) {
      const [here, there] = [join(unpacked.deb, path), join(unpacked.rpm, moved(path))];
      if (lstatSync(here).isSymbolicLink()) assert.equal(readlinkSync(there), readlinkSync(here), path);
      else if (!/\.(node|so)$/.test(path)) assert.equal(lstatSync(there).mode, lstatSync(here).mode, path);
      // Each distribution strips binaries in its own manner, and Debian refers to a licence that is on every machine.
      if (!/\.(node|so)$|(launcher|grant|job-claim|job-root|pids)$|copyright$/.test(path))
        assert.deepEqual(readFileSync(there), readFileSync(here), path);
    }
  });

  itElsewhere('contains only files that root alone can write, and only unprivileged programs', () => {
    for (const line of lines('%{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEMODES:octal} %{FILENAMES}')) {
      assert.match(line, /^root:root (120777|[0-7]*0[0-7][0145][0145]) \//);
    }
    assert.equal(query('[%{FILECAPS}]'), '');
  });

  itElsewhere('runs from the directory where it was unpacked', () => {
    const program = (path: string) => run(join(unpacked.rpm, path), '--version');
    assert.equal(program('usr/sbin/criu-service'), `criu-service ${version}\n`);
    assert.equal(program('usr/bin/criuctl'), `criuctl ${version}\n`);
    const load = `console.log(typeof require('${unpacked.rpm}/usr/lib/node_modules/criu-service').CriuClient)`;
    assert.equal(run('node', '-e', load), 'function\n');
  });

  itElsewhere('requires criu, Node, and every library that a program or an addon of it is linked to', () => {
    const requires = lines('%{REQUIRENAME} %{REQUIREFLAGS:depflags} %{REQUIREVERSION}').map((line) =>
      line.trim(),
    );
    for (const one of ['criu >= 4.1', 'nodejs >= 20.19', '/usr/bin/node'])
      assert.ok(requires.includes(one), one);
    const linked = filesBelow(unpacked.rpm).filter((path) =>
      /\.(node|so)$|(launcher|grant|job-claim|job-root|pids)$/.test(path),
    );
    assert.ok(linked.length > 2);
    const needed = linked.flatMap((path) =>
      [...run('readelf', '--dynamic', join(unpacked.rpm, path)).matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(
        ([, one]) => one,
      ),
    );
    assert.ok(needed.includes('libsystemd.so.0'));
    for (const library of needed)
      assert.ok(
        requires.some((one) => one.startsWith(`${library}(`)),
        library,
      );
  });

  itElsewhere(
    'provides itself and the npm packages that are bundled, and no name that another package may use',
    () => {
      const provides = lines('%{PROVIDENAME}').filter((name) => !name.startsWith('criu-service'));
      assert.ok(
        provides.includes('bundled(npm(commander))') && provides.includes('bundled(npm(protobufjs))'),
      );
      assert.deepEqual(
        provides.filter((name) => !name.startsWith('bundled(npm(')),
        [],
      );
    },
  );

  itElsewhere('is reproducible: it contains neither the time nor the place of its build', () => {
    assert.equal(query('%{BUILDHOST}'), 'localhost');
    // The times are those of the last entry in the change log, of which rpm takes the day.
    const times = new Set([query('%{BUILDTIME}'), ...lines('%{FILEMTIMES}')]);
    const dayOf = (seconds: string) => Math.floor(Number(seconds) / 86_400);
    assert.equal(times.size, 1, [...times].join(' '));
    assert.equal(dayOf([...times][0]!), dayOf(query('%{CHANGELOGTIME}')));
    for (const path of filesBelow(unpacked.rpm)) {
      const file = join(unpacked.rpm, path);
      if (lstatSync(file).isFile())
        assert.doesNotMatch(readFileSync(file, 'latin1'), /\/mnt\/|BUILDROOT/, path);
    }
  });
});
