/** CRIU's statistics: stats-dump and stats-restore in the work directory. */
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { stats } from '../protocol/generated/stats.js';

/** Times in microseconds; pages have the machine's page size. */
export interface DumpStatistics {
  /** Until all tasks were frozen. */
  readonly freezingUsec: number;
  /** Time that the tasks were frozen. */
  readonly frozenUsec: number;
  readonly memoryDumpUsec: number;
  readonly memoryWriteUsec: number;
  readonly pagesScanned: number;
  /** Pages unchanged since the previous images. */
  readonly pagesSkippedParent: number;
  /** Includes shared memory. */
  readonly pagesWritten: number;
  readonly pagesLazy: number;
}

/** Times in microseconds. */
export interface RestoreStatistics {
  readonly forkingUsec: number;
  readonly restoreUsec: number;
  readonly pagesCompared: number;
  /** Pages that a child shares with its parent. */
  readonly pagesSkippedCow: number;
  readonly pagesRestored: number;
}

/** IMG_SERVICE_MAGIC and STATS_MAGIC of criu/include/magic.h. */
const magic = [0x55105940, 0x57093306];
/** Two magic words, and the length of the message. */
const headBytes = 12;
const mostBytes = 4096;

/** @returns undefined if CRIU wrote none. */
export function readDumpStatistics(workDir: string): DumpStatistics | undefined {
  const read = readStatistics(join(workDir, 'stats-dump'))?.dump;
  if (!read) return undefined;
  return {
    freezingUsec: read.freezing_time,
    frozenUsec: read.frozen_time,
    memoryDumpUsec: read.memdump_time,
    memoryWriteUsec: read.memwrite_time,
    pagesScanned: count(read.pages_scanned) + count(read.shpages_scanned),
    pagesSkippedParent: count(read.pages_skipped_parent) + count(read.shpages_skipped_parent),
    pagesWritten: count(read.pages_written) + count(read.shpages_written),
    pagesLazy: count(read.pages_lazy),
  };
}

/** @returns undefined if CRIU wrote none. */
export function readRestoreStatistics(workDir: string): RestoreStatistics | undefined {
  const read = readStatistics(join(workDir, 'stats-restore'))?.restore;
  if (!read) return undefined;
  return {
    forkingUsec: read.forking_time,
    restoreUsec: read.restore_time,
    pagesCompared: count(read.pages_compared),
    pagesSkippedCow: count(read.pages_skipped_cow),
    pagesRestored: count(read.pages_restored),
  };
}

/** In spite of its types, protobufjs decodes 64 bits to an object of the package long. Counts of pages are exact as numbers. */
function count(value: number | null | undefined): number {
  return Number(value ?? 0);
}

/** Statistics are for information only, so any fault in the file means that there are none. */
function readStatistics(path: string): ReturnType<typeof stats.decode> | undefined {
  try {
    // The directory may belong to another user: do not follow a link, and do not wait for a FIFO.
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const { size } = fstatSync(fd);
      if (size < headBytes || size > mostBytes) return undefined;
      const bytes = readFileSync(fd);
      if (magic.some((word, index) => bytes.readUInt32LE(4 * index) !== word)) return undefined;
      return stats.decode(bytes.subarray(headBytes, headBytes + bytes.readUInt32LE(8)));
    } finally {
      closeSync(fd);
    }
  } catch {
    return undefined;
  }
}
