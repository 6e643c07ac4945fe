/** run.ts COUNT [SEED] [DIRECTORY...]: so many changed directories of images, by default those of the unit tests. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fuzz } from './images.ts';
import { seedDirectories } from './seeds.ts';

const [count = '10000', seed = `${Date.now() % 1_000_000}`, ...directories] = process.argv.slice(2);
const place = mkdtempSync(join(tmpdir(), 'seeds-'));
try {
  const seeds = directories.length > 0 ? directories : seedDirectories(place);
  console.log(`${count} mutations of ${seeds.length} directories, seed ${seed}`);
  const result = fuzz(seeds, Number(count), Number(seed), (done) => {
    // A peak that stays where it is shows that memory is bounded.
    if (done > 0 && done % 10_000 === 0)
      console.log(`${done}, ${process.resourceUsage().maxRSS} KiB at most`);
  });
  console.log(JSON.stringify(result));
} finally {
  rmSync(place, { recursive: true, force: true });
}
