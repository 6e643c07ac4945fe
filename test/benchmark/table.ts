/** The results as lines of text. */
import { type Memory, perTask, type Results, ratio, type Summary, type Work } from './results.ts';

/** Names of the works for people. */
const titles: Readonly<Record<string, string>> = {
  version: 'VERSION',
  features: 'FEATURE_CHECK',
  check: 'CHECK',
  first: 'VERSION, first after a stop *',
  crowd: 'VERSION, 32 at once, per second',
};

export function title(work: string): string {
  return (
    titles[work] ??
    work
      .replace(/^dump/, 'DUMP')
      .replace(/alice$/, 'user without root **')
      .replace(/^restore/, 'RESTORE')
      .replace(/^start --version/, 'criuctl --version')
      .replace(/^start (.*)/, 'criuctl $1, to its first packet')
      .replace(/^run (.*)/, 'criuctl $1')
      .replace(/^tree (\d+)/, 'refusal after a look at $1 tasks')
      .replace(/^beside tree (\d+)/, 'VERSION beside looks at $1 tasks')
  );
}

export function renderTable(results: Results): string {
  const { machine, failures } = results;
  const task = perTask(results.works);
  return [
    '',
    ...Object.entries(machine).map(([key, value]) => `${key}: ${value}`),
    '',
    'Milliseconds from connect to answer (command line: from start to exit): min / median / p99',
    ...columns([
      ['work', 'n', 'ours', 'criu service', 'criu command', 'ours : service'],
      ...results.works.map(timeRow),
    ]),
    '* beside a Node service that does nothing, activated by systemd in the same way',
    '** beside `criu dump --unprivileged` with CAP_CHECKPOINT_RESTORE',
    ...(task === undefined
      ? []
      : [`Each task of a tree takes ${threeDigits(task)} microseconds to be looked at`]),
    '',
    'Memory',
    ...columns([['', 'processes', 'PSS', 'RSS', 'descriptors'], ...results.memory.map(memoryRow)]),
    ...(failures.length === 0 ? [] : ['', `${failures.length} samples could not be taken:`, ...failures]),
    '',
  ].join('\n');
}

function timeRow(work: Work): string[] {
  const { ours, c, cli, nothing } = work.ways;
  return [
    title(work.work),
    String(ours?.n ?? 0),
    describe(ours),
    describe(c ?? nothing),
    describe(cli),
    ratio(work)?.toFixed(2) ?? '-',
  ];
}

function describe(summary: Summary | undefined): string {
  return summary ? [summary.min, summary.median, summary.p99].map(threeDigits).join(' / ') : '-';
}

/** More digits would be noise. */
function threeDigits(number: number): string {
  return number >= 100 ? number.toFixed(0) : number.toPrecision(3);
}

const whats: Readonly<Record<string, string>> = {
  idle: 'idle',
  'before silence': 'before 500 silent connections',
  silent: 'with 500 silent connections',
  'growth first': 'after a tenth of many requests in a row',
  'growth all': 'after all of them',
};
const ways: Readonly<Record<string, string>> = { ours: 'ours', c: 'criu service', bare: 'bare node' };

function memoryRow({ what, way, processes, pssKiB, rssKiB, descriptors }: Memory): string[] {
  return [
    `${ways[way] ?? way}, ${whats[what] ?? what}`,
    String(processes),
    mebibytes(pssKiB),
    mebibytes(rssKiB),
    String(descriptors),
  ];
}

function mebibytes(kib: number): string {
  return `${(kib / 1024).toFixed(1)} MiB`;
}

/** The first column to the left, figures to the right. */
function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('   '),
  );
}
