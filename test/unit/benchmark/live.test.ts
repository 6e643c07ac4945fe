import assert from 'node:assert/strict';
import { plotLive } from '../../benchmark/live/plot.ts';
import { faultMicroseconds, type LiveResults, rowsOf, type Sample } from '../../benchmark/live/results.ts';
import { renderLive } from '../../benchmark/live/table.ts';

const mebibyte = 2 ** 20;
const full: Sample = {
  kind: 'full',
  way: 'alice',
  megabytes: 64,
  percent: 0,
  wallMs: 900,
  frozenMs: 400,
  bytes: 64 * mebibyte,
};
const samples: readonly Sample[] = [
  full,
  { ...full, frozenMs: 500 },
  { ...full, frozenMs: 800 },
  { ...full, kind: 'incremental', percent: 1, frozenMs: 50, bytes: mebibyte },
  { ...full, kind: 'live', percent: 10, frozenMs: 100, rounds: 3 },
  { kind: 'restore', way: 'command', megabytes: 64, percent: 1, wallMs: 2000, rounds: 5 },
  { kind: 'restore', way: 'command', megabytes: 64, percent: 1, wallMs: 3000, rounds: 20 },
  { kind: 'sweep', way: 'alice', megabytes: 64, percent: 100, wallMs: 100 },
  { kind: 'sweep-tracked', way: 'alice', megabytes: 64, percent: 100, wallMs: 116.384 },
];
const results: LiveResults = {
  machine: { processor: 'a processor', cores: '2' },
  samples,
  failures: ['live 64 50: no'],
};

describe('the results of live checkpoints', () => {
  it('are medians of the same work', () => {
    const [first] = rowsOf(samples);
    assert.deepEqual([first?.n, first?.frozenMs, first?.bytes], [3, 500, 64 * mebibyte]);
  });

  it('keep chains of different lengths apart', () => {
    const restores = rowsOf(samples).filter(({ kind }) => kind === 'restore');
    assert.deepEqual(
      restores.map(({ rounds, wallMs }) => [rounds, wallMs]),
      [
        [5, 2000],
        [20, 3000],
      ],
    );
  });

  it('tell the cost of the first write to a tracked page', () => {
    assert.equal(faultMicroseconds(rowsOf(samples))?.toFixed(3), '1.000');
    assert.equal(faultMicroseconds([]), undefined);
  });

  it('are told with the share of a full checkpoint, and with failures', () => {
    const text = renderLive(results);
    assert.match(
      text,
      /^\| 64 MB \| incremental, 1 % changed \| criuctl, a user \| 1 \| 50\.0 \| 10 % \| 1\.00 \| 1\.6 % \| 0\.900 \|$/m,
    );
    assert.match(text, /^\| 64 MB \| live, 10 % a second, 3 rounds before \|/m);
    assert.match(text, /^\| 64 MB \| 20 \| `criu` as root \| 3\.00 \|$/m);
    assert.match(text, /^\| 64 MB \| 0\.16 % \| 0\.027 % \| 0\.0027 % \|$/m);
    assert.match(text, /^Not measured: live 64 50: no$/m);
  });

  it('have a picture with each work', () => {
    const svg = plotLive(results);
    for (const work of ['64 MB, full', '64 MB, incremental, 1 %', '64 MB, live, 10 % a second'])
      assert.ok(svg.includes(`>${work}<`), work);
  });
});
