/** WAY PATH STEP: compresses or expands a directory, and is killed at a step of its first file. */
import { compress, expand } from '../../../../src/images/at-rest.ts';
import { ImageDirectory } from '../../../../src/images/image-directory.ts';

const [way, path, wanted] = process.argv.slice(2);
await (way === 'compress' ? compress : expand)(new ImageDirectory(path!), {
  at: (step) => {
    if (step === wanted) process.kill(process.pid, 'SIGKILL');
  },
});
