/** The tables of live checkpoints, as Markdown. Pure. */
import { faultMicroseconds, type LiveResults, type Row, rowsOf } from './results.ts';

const names = { command: '`criu` as root', alice: 'criuctl, a user' } as const;

const work: Partial<Record<Row['kind'], (row: Row) => string>> = {
  full: () => 'full',
  incremental: ({ percent }) => `incremental, ${percent} % changed`,
  live: ({ percent, rounds }) => `live, ${percent} % a second, ${rounds} rounds before`,
  'pre-dump': () => 'pre-dump',
};

export function renderLive({ machine, samples, failures }: LiveResults): string {
  const rows = rowsOf(samples);
  const dumps = rows.filter(({ kind }) => kind in work);
  const restores = rows.filter(({ kind }) => kind === 'restore');
  const fault = faultMicroseconds(rows);
  return [
    `${machine.processor}, ${machine.cores} cores, ${machine.memory}, Linux ${machine.kernel}, CRIU ${machine.criu}, Node ${machine.node}`,
    '',
    '| memory | checkpoint | by | n | frozen, ms | of a full one | MiB written | of a full one | s in all |',
    '| --- | --- | --- | --- | --- | --- | --- | --- | --- |',
    ...dumps.map((row) => {
      const full = dumps.find(
        ({ kind, way, megabytes }) => kind === 'full' && way === row.way && megabytes === row.megabytes,
      );
      const cells = [
        `${row.megabytes} MB`,
        work[row.kind]!(row),
        names[row.way],
        row.n,
        number(row.frozenMs),
        share(row.frozenMs, full?.frozenMs),
        number(row.bytes === undefined ? undefined : row.bytes / 2 ** 20),
        share(row.bytes, full?.bytes),
        number(row.wallMs / 1000),
      ];
      return `| ${cells.join(' | ')} |`;
    }),
    '',
    '| restore of | directories | by | s |',
    '| --- | --- | --- | --- |',
    ...restores.map(
      ({ megabytes, rounds, way, wallMs }) =>
        `| ${megabytes} MB | ${rounds} | ${names[way]} | ${number(wallMs / 1000)} |`,
    ),
    '',
    ...(fault === undefined
      ? []
      : [
          `The first write to a page of tracked memory costs ${number(fault)} µs more.`,
          '',
          '| the program changes between two checkpoints | every 10 s | every minute | every 10 minutes |',
          '| --- | --- | --- | --- |',
          ...[64, 1024, 4096].map((megabytes) => {
            const seconds = (megabytes * 256 * fault) / 1e6;
            const cells = [10, 60, 600].map((every) => `${((100 * seconds) / every).toPrecision(2)} %`);
            return `| ${megabytes} MB | ${cells.join(' | ')} |`;
          }),
          '',
        ]),
    ...failures.map((failure) => `Not measured: ${failure}`),
  ].join('\n');
}

function number(value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return '';
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function share(value: number | undefined, whole: number | undefined): string {
  return value === undefined || !whole ? '' : `${((100 * value) / whole).toPrecision(2)} %`;
}
