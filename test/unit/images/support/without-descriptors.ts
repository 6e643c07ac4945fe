/** PATH: expands an image of pages in a directory when this process has no descriptor left; prints the error. */
import { openSync } from 'node:fs';
import { join } from 'node:path';
import { expanded, ZstdError } from '../../../../src/images/zstd.ts';

const fd = openSync(join(process.argv[2]!, 'pages-1.img.zst'), 'r');
try {
  for (;;) openSync('/dev/null', 'r');
} catch {
  // That was the last.
}
try {
  await expanded(fd, () => undefined);
} catch (error) {
  process.stdout.write(`${error}${error instanceof ZstdError ? ` (${error.is})` : ''}\n`);
}
