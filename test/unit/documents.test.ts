/** The quotations of test titles in the documents. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { type OptionName, type OptionRow, optionTable } from '../../src/policy/option-table.ts';

const root = join(import.meta.dirname, '..', '..');

/** The static pieces of each string and template of the tests: a title may be put together of several. */
function literals(): string[][] {
  const found: string[][] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteralLike(node)) found.push([node.text]);
    if (ts.isTemplateExpression(node))
      found.push([node.head.text, ...node.templateSpans.map((span) => span.literal.text)]);
    ts.forEachChild(node, visit);
  };
  for (const name of readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts')) continue;
    visit(ts.createSourceFile(name, readFileSync(join(root, 'test', name), 'utf8'), ts.ScriptTarget.Latest));
  }
  return found.map((pieces) => pieces.map(plain));
}

/** With straight apostrophes, whatever the title has. */
function plain(text: string): string {
  return text.replaceAll('’', "'");
}

/** A whole title, a part of one, or one that a template makes: then its pieces are most of it. */
function isTitle(quoted: string, pieces: readonly string[]): boolean {
  if (pieces.length === 1) return pieces[0]!.includes(quoted);
  const said = pieces.map((piece) => piece.trim()).filter((piece) => piece !== '');
  if (said.some((piece) => piece.includes(quoted))) return true;
  const length = said.reduce((sum, piece) => sum + piece.length, 0);
  return said.every((piece) => quoted.includes(piece)) && length > quoted.length / 2;
}

describe('SECURITY.md', () => {
  it('names only tests that are there', () => {
    const all = literals();
    const missing: string[] = [];
    let named = 0;
    for (const line of readFileSync(join(root, 'docs', 'SECURITY.md'), 'utf8').split('\n')) {
      const shownBy = line.startsWith('|') ? (line.split('|').at(-2) ?? '') : '';
      if (!/\b(unit|native|launcher|scenario|system|hostile): /.test(shownBy)) continue;
      for (const [, quoted] of shownBy.matchAll(/"([^"]+)"/g)) {
        named += 1;
        if (!all.some((pieces) => isTitle(plain(quoted!), pieces))) missing.push(quoted!);
      }
    }
    assert.ok(named > 100, `it names ${named} tests`);
    assert.deepEqual(missing, []);
  });

  it('has each option that the policy refuses, with the reason of its row, and no other', () => {
    const text = readFileSync(join(root, 'docs', 'SECURITY.md'), 'utf8');
    const begin = text.indexOf('| option | refused | why |');
    const found = text.slice(begin, text.indexOf('\n\n', begin)).split('\n').slice(2);
    assert.deepEqual(found, refusedOptions());
  });
});

/** The rows of the table of options in SECURITY.md. */
function refusedOptions(): string[] {
  const samples = { ps: { fd: 0 }, log_file: '-' } as const;
  return (Object.keys(optionTable) as OptionName[]).flatMap((name) => {
    const { privileged, confined, refusedValue }: OptionRow = optionTable[name];
    if (typeof confined === 'object')
      return `| \`${name}\` | ${typeof privileged === 'object' ? 'to all' : 'without root'} | ${confined.refused} |`;
    const [option, why] = refusedValue?.(samples as never)?.split(': ') ?? [];
    const value = option === 'log_file' ? 'log_file: -' : option;
    return option === undefined ? [] : `| \`${value}\` | without root | ${why} |`;
  });
}
