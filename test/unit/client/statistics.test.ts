import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readDumpStatistics, readRestoreStatistics } from '../../../src/client/statistics.ts';

/** A varint field; all of CRIU's statistics are varints. */
function field(number: number, value: number): number[] {
  const bytes = [number << 3];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) + 0x80);
  return [...bytes, rest];
}

/** A file as CRIU writes it: magic, length, message. `entry` is 1 for a dump, 2 for a restore. */
function image(entry: number, ...fields: number[][]): Buffer {
  const body = fields.flat();
  const message = [(entry << 3) | 2, body.length, ...body];
  const head = Buffer.alloc(12);
  head.writeUInt32LE(0x55105940, 0);
  head.writeUInt32LE(0x57093306, 4);
  head.writeUInt32LE(message.length, 8);
  return Buffer.concat([head, Buffer.from(message)]);
}

describe('CRIU’s statistics', () => {
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'criu-statistics-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('of a dump count private and shared pages together, in numbers', () => {
    const counts = [
      field(5, 1000),
      field(6, 20),
      field(7, 702),
      field(9, 3),
      field(12, 500),
      field(13, 4),
      field(14, 40),
    ];
    const times = [field(1, 100), field(2, 64_600), field(3, 30), field(4, 40)];
    writeFileSync(join(directory, 'stats-dump'), image(1, ...times, ...counts));
    assert.deepEqual(readDumpStatistics(directory), {
      freezingUsec: 100,
      frozenUsec: 64_600,
      memoryDumpUsec: 30,
      memoryWriteUsec: 40,
      pagesScanned: 1500,
      pagesSkippedParent: 24,
      pagesWritten: 742,
      pagesLazy: 3,
    });
  });

  it('of a restore are numbers, also above 32 bits', () => {
    const fields = [field(1, 1), field(2, 2), field(3, 3), field(4, 4), field(5, 2 ** 40 + 5)];
    writeFileSync(join(directory, 'stats-restore'), image(2, ...fields));
    assert.deepEqual(readRestoreStatistics(directory), {
      forkingUsec: 3,
      restoreUsec: 4,
      pagesCompared: 1,
      pagesSkippedCow: 2,
      pagesRestored: 2 ** 40 + 5,
    });
  });

  it('are undefined if the file is missing, cut off, or not a statistics file', () => {
    assert.equal(readDumpStatistics(directory), undefined);
    const whole = image(1, field(1, 1));
    writeFileSync(join(directory, 'stats-dump'), whole.subarray(0, 13));
    assert.equal(readDumpStatistics(directory), undefined);
    whole.writeUInt32LE(0, 4);
    writeFileSync(join(directory, 'stats-dump'), whole);
    assert.equal(readDumpStatistics(directory), undefined);
  });
});
