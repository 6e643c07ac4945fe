// english.mjs [--most N]: counts words that stand for a missing noun (listed in `nounless`) in comments, test titles and
// documents, per 1,000 words and by place. At these words the reader has to remember a noun from the line before. With --most it
// fails if a place has more than N.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import ts from 'typescript';

const { most } = parseArgs({ options: { most: { type: 'string' } } }).values;
const nounless = /\b(what|who|whom|whose|one|ones|nobody|whoever|whatever)\b/gi;

/** The comments of a TypeScript or JavaScript file. */
function ofScript(text) {
  const source = ts.createSourceFile('x.ts', text, ts.ScriptTarget.Latest, true);
  const seen = new Set();
  const comments = [];
  const visit = (node) => {
    for (const { pos, end } of ts.getLeadingCommentRanges(text, node.getFullStart()) ?? []) {
      if (seen.has(pos)) continue;
      seen.add(pos);
      comments.push(text.slice(pos, end));
    }
    node.getChildren(source).forEach(visit);
  };
  visit(source);
  return comments.join('\n');
}

function titlesOf(text) {
  return [...text.matchAll(/\b(?:describe|it)\(\s*(['"`])((?:\\.|(?!\1).)*)\1/gs)]
    .map((match) => match[2])
    .join('\n');
}

/** The comments of C and C++. */
function ofC(text) {
  const parts = text.matchAll(/"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|\/\/[^\n]*|\/\*.*?\*\//gs);
  return [...parts]
    .map(([part]) => part)
    .filter((part) => part.startsWith('/'))
    .join('\n');
}

/** The comments of shell scripts, Python and units. */
function ofHash(text) {
  return text
    .split('\n')
    .filter((line) => /^\s*#(?!!)/.test(line))
    .join('\n');
}

const readers = [
  [/\.(ts|mjs)$/, ofScript],
  [/\.(cc|h|c)$/, ofC],
  [/\.(md|[1-8])$/, (text) => text],
  [/^(scripts|packaging|units)\/|\.(sh|py|service|socket)$/, ofHash],
];

/** Comments by the two first parts of a path, titles and documents by themselves. */
const places = new Map();
function count(place, text) {
  const entry = places.get(place) ?? { words: 0, found: 0 };
  entry.words += text.match(/\b[a-z][a-z']*\b/gi)?.length ?? 0;
  entry.found += text.match(nounless)?.length ?? 0;
  places.set(place, entry);
}

for (const path of execFileSync('git', ['ls-files'], { encoding: 'utf8' }).trim().split('\n')) {
  const reader = readers.find(([pattern]) => pattern.test(path))?.[1];
  if (!reader) continue;
  const text = readFileSync(path, 'utf8');
  const parts = path.split('/');
  const room =
    ['src', 'native', 'test'].includes(parts[0]) && parts.length > 2 ? parts.slice(0, 2).join('/') : parts[0];
  count(path.endsWith('.md') ? 'documents' : room, reader(text));
  if (path.startsWith('test/') && path.endsWith('.ts')) count('test titles', titlesOf(text));
}

let worst = 0;
for (const [place, { words, found }] of [...places].sort(([a], [b]) => a.localeCompare(b))) {
  if (words < 100) continue;
  const rate = (1000 * found) / words;
  worst = Math.max(worst, rate);
  console.log(
    `${place.padEnd(24)} ${String(words).padStart(7)} words ${rate.toFixed(1).padStart(6)} per 1,000`,
  );
}
if (most !== undefined && worst > Number(most)) {
  console.error(`A place has more than ${most} per 1,000`);
  process.exitCode = 1;
}
