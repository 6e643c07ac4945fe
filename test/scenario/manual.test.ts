/** The manual pages describe exactly the options, exit statuses, journal fields and settings that the programs and units have. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { exitCodes } from '../../src/cli/exit-codes.ts';
import { verbs } from '../../src/cli/options/row.ts';
import { program } from './support/service.ts';

const criuctl = join(program, '..', 'criuctl.cjs');

/** The text of a page or of a section, without the escapes of roff(7) inside words. */
function page(name: string, section?: string): string {
  const text = readFileSync(join('man', name), 'utf8')
    .replace(/\\-/g, '-')
    .replace(/\\f[A-Z]/g, '');
  if (section === undefined) return text;
  const [, found] = text.split(new RegExp(`^\\.SH "?${section}"?\n`, 'm'));
  assert.ok(found, `${name} has no section ${section}`);
  return found.split(/^\.SH /m)[0]!;
}

/** The headings of a section's tagged paragraphs: the line after each .TP. */
function headings(name: string, section: string): string[] {
  return [...page(name, section).matchAll(/^\.TP\n(.*)$/gm)].map(([, heading]) => heading!);
}

function matches(pattern: RegExp, ...texts: string[]): string[] {
  return [...new Set(texts.flatMap((text) => text.match(pattern) ?? []))].sort();
}

/** The settings of a unit file as they stand there, `Key=Value`, except for relations to other units. */
function settings(unit: string): string[] {
  const text = readFileSync(join('units', unit), 'utf8');
  return matches(/^(?!Description|Documentation|Requires|After|WantedBy|Also)[A-Z]\w*=.*$/gm, text);
}

const option = /(?<![\w-])--?[a-zA-Z][a-z-]*/g;

describe('the manual pages', () => {
  it('criu-service(8) has exactly the options of criu-service --help', () => {
    const { stdout } = spawnSync(process.execPath, [program, '--help'], { encoding: 'utf8' });
    const listed = stdout.split('\n').map((line) => line.match(/^ {2}(-.*?)( {2,}|$)/)?.[1] ?? '');
    assert.deepEqual(matches(option, ...headings('criu-service.8', 'OPTIONS')), matches(option, ...listed));
  });

  it('criuctl(1) has exactly the options of criuctl VERB --help', () => {
    const help = (...verb: string[]) => {
      const { stdout } = spawnSync(process.execPath, [criuctl, ...verb, '--help'], { encoding: 'utf8' });
      return stdout.split('\n').map((line) => line.match(/^ {2}(-.*?)( {2,}|$)/)?.[1] ?? '');
    };
    assert.deepEqual(
      matches(option, ...headings('criuctl.1', 'OPTIONS')),
      matches(option, ...help(), ...verbs.flatMap((verb) => help(verb))),
    );
  });

  it('criuctl(1) has exactly the exit statuses of criuctl', () => {
    assert.deepEqual(
      headings('criuctl.1', 'EXIT STATUS').map((heading) => Number(heading.replace('.B ', ''))),
      Object.values(exitCodes),
    );
  });

  it('criu-service(8) has exactly the journal fields of the records', () => {
    const directory = join('src', 'records');
    const sources = readdirSync(directory).map((file) => readFileSync(join(directory, file), 'utf8'));
    assert.deepEqual(
      matches(/CRIU_[A-Z_]+(?==)/g, ...headings('criu-service.8', 'JOURNAL FIELDS')),
      matches(/\bCRIU_(?!SERVICE_)[A-Z_]+\b/g, ...sources),
    );
  });

  for (const unit of ['criu.socket', 'criu.service']) {
    it(`criu.socket(5) describes every setting of ${unit}`, () => {
      const described = headings('criu.socket.5', unit.toUpperCase());
      assert.deepEqual(
        matches(/[A-Z]\w*=[^ "]+/g, ...described),
        settings(unit).map((setting) => setting.split(' ')[0]),
      );
    });
  }
});
